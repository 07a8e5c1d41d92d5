// From the reports of a sweep's units to its own: means over seeds, and which settings nothing else beats.
import type { Sweep, SweepSetting } from "../report/sweep.ts";
import { paretoFront } from "./pareto.ts";
import type { AblationPlan, Cell } from "./plan.ts";
import {
  type CellResult,
  cellReport,
  type MeasuredBy,
  measureOf,
  measureReport,
  plannedOf,
  spreadOf,
} from "./summarize.ts";

/** A unit of a plan, in the order of the plan. */
export interface SweepCell {
  readonly model: string;
  readonly cell: Cell;
  readonly id: string;
  /** From the sweep's folder. */
  readonly folder: string;
}

export interface SweepFacts extends Pick<Sweep, "title" | "createdAt" | "data" | "versions"> {
  /** Whether the data is a text, whose labels are the next tokens. */
  readonly isText: boolean;
}

type UnrankedSetting = Omit<SweepSetting, "fronts">;

/** `results`: by id. */
export function summarizeSweep(
  plan: AblationPlan,
  cells: readonly SweepCell[],
  results: ReadonlyMap<string, CellResult>,
  { isText, ...facts }: SweepFacts,
): Sweep {
  const first = [...results.values()].flatMap((result) => ("report" in result ? [result.report] : []))[0];
  const measure = first && measureOf(first, isText);
  const models = [...new Set(cells.map(({ model }) => model))];
  const indexed = cells.map((cell, index) => ({ ...cell, index }));
  const settings = models.flatMap((model) =>
    plan.settings.map(({ name, changes }): UnrankedSetting => {
      const own = indexed.filter(({ cell, ...unit }) => unit.model === model && cell.setting.name === name);
      const units = own.map(({ cell, id, folder, index }) => ({
        index,
        id,
        ...cellReport(cell, folder, results.get(id), measure),
      }));
      const meanOf = (of: (unit: (typeof units)[number]) => number | null): number | null =>
        spreadOf(units.flatMap((unit) => of(unit) ?? []))?.mean ?? null;
      return {
        model,
        name,
        changes,
        units,
        result: spreadOf(units.flatMap(({ value }) => value ?? [])),
        sizeBytes: meanOf(({ sizeBytes }) => sizeBytes),
        latencyMs: meanOf(({ latencyMs }) => latencyMs),
      };
    }),
  );
  return {
    format: "frostbit-sweep-1",
    ...facts,
    ...plannedOf(plan, first && measure ? measureReport(measure, first) : null),
    models: models.map((path) => ({ path, float: measure ? floatOf(measure, path, cells, results) : null })),
    settings: withFronts(settings, measure?.better ?? "more"),
  };
}

/** Of a model's first unit that is done. */
function floatOf(
  measure: MeasuredBy,
  path: string,
  cells: readonly SweepCell[],
  results: ReadonlyMap<string, CellResult>,
): number | null {
  for (const { model, id } of cells) {
    const result = model === path ? results.get(id) : undefined;
    if (result && "report" in result) return measure.of(result.report, "float");
  }
  return null;
}

/** Over all models: which file to take for a size or a time. */
function withFronts(settings: readonly UnrankedSetting[], better: "more" | "less"): SweepSetting[] {
  const loss = ({ result }: UnrankedSetting): number =>
    result === null ? Number.NaN : better === "more" ? -result.mean : result.mean;
  const sizeOf = ({ sizeBytes }: UnrankedSetting): number => sizeBytes ?? Number.NaN;
  const timeOf = ({ latencyMs }: UnrankedSetting): number => latencyMs ?? Number.NaN;
  const fronts = {
    size: paretoFront(settings.map((one) => [loss(one), sizeOf(one)])),
    latency: paretoFront(settings.map((one) => [loss(one), timeOf(one)])),
    all: paretoFront(settings.map((one) => [loss(one), sizeOf(one), timeOf(one)])),
  };
  const names = ["size", "latency", "all"] as const;
  return settings.map((setting, i) => ({ ...setting, fronts: names.filter((name) => fronts[name][i]) }));
}
