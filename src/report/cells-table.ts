// What the pages of an ablation and of a sweep say alike: how many runs are done, and of each run its columns.
import type { Ablation, AblationCell } from "./ablation.ts";
import { formatMeasure, measureTitle } from "./format-spread.ts";
import { type Html, html } from "./html.ts";
import type { Column } from "./page.ts";

type Measure = Ablation["measure"];

/** `noun`: what the cells are called, in the plural. */
export function howManyAreDone(cells: readonly AblationCell[], noun: string): string {
  const count = (status: AblationCell["status"]): number => cells.filter((cell) => cell.status === status).length;
  const [failed, open] = [count("failed"), count("not run")];
  return `${count("done")} of ${cells.length} ${noun} are done${failed > 0 ? `, ${failed} failed` : ""}${open > 0 ? `, ${open} are not run yet` : ""}.`;
}

export const shown = (value: number | null, show: (value: number) => string): string =>
  value === null ? "–" : show(value);

export const figureTitle = (measure: Measure): string => (measure ? measureTitle(measure) : "figure");

export interface CellRow extends AblationCell {
  readonly setting: string;
}

export const cellColumns = (measure: Measure): readonly Column<CellRow>[] => [
  {
    title: "setting",
    kind: "text",
    of: ({ status, folder, setting }): Html =>
      status === "done" ? html`<a href="${encodeURI(`${folder}/report.html`)}">${setting}</a>` : html`${setting}`,
  },
  {
    title: "state",
    kind: "text",
    of: ({ status, error, usable }) =>
      error ? `failed: ${error.message}` : usable === false ? "not usable: it lost too much" : status,
  },
  { title: "seed", kind: "number", of: ({ seed }) => seed },
  {
    title: figureTitle(measure),
    kind: "number",
    of: ({ value }) => shown(value, (figure) => formatMeasure(figure, measure?.unit ?? "")),
  },
];
