// The page of an ablation.
import type { Ablation, AblationCell, AblationSetting } from "./ablation.ts";
import { type CellRow, cellColumns, figureTitle, howManyAreDone, shown } from "./cells-table.ts";
import { formatBytes } from "./format-bytes.ts";
import { formatDigits } from "./format-digits.ts";
import { formatDifference, formatMeasure, formatSpread, measureTitle } from "./format-spread.ts";
import { type Html, html } from "./html.ts";
import { chart, grouped, page, pairs, section, table } from "./page.ts";
import { type SpreadRow, spreadChart } from "./spread-chart.ts";

type Measure = NonNullable<Ablation["measure"]>;

/** The ablation as a self-contained page, which links the reports of its cells. */
export const renderAblation = (ablation: Ablation): string =>
  page(
    ablation.title,
    html`<h1>${ablation.title}</h1>
<p class="muted">${ablation.model} on ${ablation.data}, ${ablation.engine}</p>
${lead(ablation)}${charts(ablation)}
${section("Settings", settingsLead(ablation), settingsTable(ablation))}
${section("Runs", "Each with its report.", cellsTable(ablation))}
<h2>Details</h2>${pairs("Axes", [...ablation.axes.map(({ path, values }) => [path, values.map(print).join(", ")] as const), ["seed", ablation.seeds.join(", ")]])}
${pairs("Versions", Object.entries(ablation.versions))}`,
  );

const print = (value: unknown): string =>
  value === null ? "not given" : typeof value === "string" ? value : (JSON.stringify(value) ?? "");

const cellsOf = ({ settings }: Ablation): readonly AblationCell[] => settings.flatMap(({ cells }) => cells);

function lead(ablation: Ablation): Html {
  const kind =
    ablation.design === "grid" ? "All values of the axes together" : "One option at a time changed from the recipe";
  return html`<p class="lead">${kind}: ${howManyAreDone(cellsOf(ablation), "runs")}</p>`;
}

const baseOf = ({ settings }: Ablation): AblationSetting | undefined => settings.find(({ isBase }) => isBase);

function rowOf({ name, isBase, result }: AblationSetting, label = name): readonly SpreadRow[] {
  return result ? [{ name: label, mean: result.mean, deviation: result.deviation, isMarked: isBase }] : [];
}

/** Of each axis its own, where they do not meet. */
function charts(ablation: Ablation): Html {
  const { measure, settings, axes, design } = ablation;
  if (!measure) return html``;
  const base = baseOf(ablation);
  const baseRow = base ? rowOf(base) : [];
  if (design === "grid")
    return html`<div class="charts">${oneChart(
      measure,
      "All settings",
      "grid",
      settings.flatMap((one) => rowOf(one)),
      base,
    )}</div>`;
  const parts = axes.map(({ path }, i) => {
    const rows = settings
      .filter(({ changes }) => Object.hasOwn(changes, path))
      .flatMap((setting) => rowOf(setting, print(setting.changes[path])));
    return rows.length === 0 ? html`` : oneChart(measure, path, `axis-${i}`, [...baseRow, ...rows], base);
  });
  return html`<div class="charts">${parts}</div>`;
}

function oneChart(
  measure: Measure,
  title: string,
  id: string,
  rows: readonly SpreadRow[],
  base: AblationSetting | undefined,
): Html {
  const svg = spreadChart({
    id,
    label: `${measure.name} by ${title}`,
    rows,
    unit: measure.unit === "%" ? " %" : "",
    format: (value) => formatMeasure(value, measure.unit),
    reference: base?.result?.mean ?? null,
  });
  return chart(
    title,
    `${measureTitle(measure)}; ${measure.better} is better. Dashed: the recipe as it is. Bars: the deviation over seeds.`,
    svg,
  );
}

function settingsLead({ measure, seeds }: Ablation): string {
  if (!measure) return "No run is done yet.";
  const float = measure.float === null ? "" : ` Float: ${formatMeasure(measure.float, measure.unit)}.`;
  const of = seeds.length > 1 ? "Mean ± sample deviation over seeds (how many)" : "One seed";
  return `${measureTitle(measure)} of the written model in ONNX Runtime, on ${grouped(measure.samples)} test samples. ${of}; differences to the recipe as it is, of the same seeds.${float}`;
}

const mean = (values: readonly number[]): number | null =>
  values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;

const meanOf = (setting: AblationSetting, of: (cell: AblationCell) => number | null): number | null =>
  mean(setting.cells.flatMap((cell) => of(cell) ?? []));

const settingsTable = ({ measure, settings }: Ablation): Html =>
  table<AblationSetting>(
    [
      { title: "setting", kind: "text", of: ({ name }) => name },
      {
        title: figureTitle(measure),
        kind: "number",
        of: ({ result }) => formatSpread(result, measure?.unit ?? ""),
      },
      {
        title: "to the base",
        kind: "number",
        of: ({ difference }) => formatDifference(difference, measure?.unit ?? ""),
      },
      {
        title: "size",
        kind: "number",
        of: (one) =>
          shown(
            meanOf(one, ({ sizeBytes }) => sizeBytes),
            formatBytes,
          ),
      },
      {
        title: "batch of 1",
        kind: "number",
        of: (one) =>
          shown(
            meanOf(one, ({ latencyMs }) => latencyMs),
            (ms) => `${formatDigits(ms)} ms`,
          ),
      },
      {
        title: "run",
        kind: "number",
        of: (one) =>
          shown(
            meanOf(one, ({ seconds }) => seconds),
            (s) => `${s.toFixed(0)} s`,
          ),
      },
    ],
    settings,
  );

function cellsTable({ settings, measure }: Ablation): Html {
  const rows = settings.flatMap(({ name, cells }) => cells.map((cell): CellRow => ({ ...cell, setting: name })));
  return table<CellRow>(cellColumns(measure), rows);
}
