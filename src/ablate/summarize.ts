// From the reports of an ablation's cells to its own: means over seeds, and differences to the base.
import { accuracyName } from "../evaluate/metrics.ts";
import type { Ablation, AblationCell, AblationSetting, Spread } from "../report/ablation.ts";
import type { Report } from "../report/report.ts";
import type { AblationPlan, Cell } from "./plan.ts";

/** What became of a cell; absent: not run yet. */
export type CellResult =
  | { readonly report: Report }
  | { readonly error: { readonly code: string; readonly message: string } };

/** A cell's folder, from the ablation's. */
export type FolderOf = (cell: Cell) => string;

export interface AblationFacts
  extends Pick<Ablation, "title" | "createdAt" | "model" | "data" | "engine" | "versions"> {
  /** Whether the data is a text, whose labels are the next tokens. */
  readonly isText: boolean;
}

type Measure = NonNullable<Ablation["measure"]>;

export interface MeasuredBy extends Pick<Measure, "name" | "unit" | "better"> {
  readonly of: (report: Report, stage: "float" | "deployed") => number | null;
}

/** Equal outputs have no finite ratio. */
const worstDb = (report: Report, stage: "float" | "deployed"): number | null => {
  const found = (report.fidelity?.[stage] ?? []).map(({ sqnrDb }) => sqnrDb);
  return found.some((value) => value !== null)
    ? Math.min(...found.map((value) => value ?? Number.POSITIVE_INFINITY))
    : null;
};

const perplexity = ({ metrics }: Report, stage: "float" | "deployed"): number | null => {
  const loss = metrics[stage]?.loss ?? null;
  return loss === null ? null : Math.exp(loss);
};

/**
 * What the labels of a run's data measure: perplexity, overlap, accuracy or errors; without labels, the distance to the float
 * model.
 */
export function measureOf({ metrics: { deployed } }: Report, isText: boolean): MeasuredBy {
  if (!deployed) return { name: "SQNR", unit: "dB", better: "more", of: worstDb };
  if (deployed.metric) {
    const { name, higherIsBetter } = deployed.metric;
    const better = higherIsBetter ? "more" : "less";
    return { name, unit: "", better, of: ({ metrics }, stage) => metrics[stage]?.metric?.value ?? null };
  }
  if (isText) return { name: "perplexity", unit: "", better: "less", of: perplexity };
  if (deployed.labels === "values")
    return { name: "RMSE", unit: "", better: "less", of: ({ metrics }, stage) => metrics[stage]?.rmse ?? null };
  if (deployed.meanIou !== null)
    return { name: "mean IoU", unit: "%", better: "more", of: ({ metrics }, stage) => metrics[stage]?.meanIou ?? null };
  return { name: accuracyName(deployed), unit: "%", better: "more", of: ({ top1 }, stage) => top1[stage] };
}

export function spreadOf(values: readonly number[]): Spread | null {
  if (values.length === 0) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: values.length < 2 ? null : Math.sqrt(squares / (values.length - 1)), seeds: values.length };
}

/** What a plan says of itself, with what its runs are compared by. */
export const plannedOf = (
  { design, axes, seeds }: AblationPlan,
  measure: Ablation["measure"],
): Pick<Ablation, "design" | "axes" | "seeds" | "measure"> => ({
  design,
  axes: axes.map(({ path, values }) => ({ path, values: [...values] })),
  seeds: [...seeds],
  measure,
});

export function summarize(
  plan: AblationPlan,
  results: ReadonlyMap<Cell, CellResult>,
  folderOf: FolderOf,
  { isText, ...facts }: AblationFacts,
): Ablation {
  const reports = [...results.values()].flatMap((result) => ("report" in result ? [result.report] : []));
  const [first] = reports;
  const measure = first && measureOf(first, isText);
  const settings = plan.settings.map((setting): Omit<AblationSetting, "difference"> => {
    const cells = plan.cells
      .filter((cell) => cell.setting === setting)
      .map((cell) => cellReport(cell, folderOf(cell), results.get(cell), measure));
    return { ...setting, cells, result: spreadOf(cells.flatMap(({ value }) => value ?? [])) };
  });
  const base = settings.find(({ isBase }) => isBase);
  return {
    format: "frostbit-ablation-1",
    ...facts,
    ...plannedOf(plan, first && measure ? measureReport(measure, first) : null),
    settings: settings.map((setting) => ({
      ...setting,
      difference: base && !setting.isBase ? differenceOf(base.cells, setting.cells) : null,
    })),
  };
}

export const measureReport = ({ name, unit, better, of }: MeasuredBy, report: Report): Measure => ({
  name,
  unit,
  better,
  float: of(report, "float"),
  samples: report.data.testSamples,
});

export function cellReport(
  { seed }: Cell,
  folder: string,
  result: CellResult | undefined,
  measure: MeasuredBy | undefined,
): AblationCell {
  const nothing = { value: null, sizeBytes: null, latencyMs: null, seconds: null, usable: null, error: null };
  if (!result) return { seed, folder, status: "not run", ...nothing };
  if ("error" in result) return { seed, folder, status: "failed", ...nothing, error: result.error };
  const { report } = result;
  return {
    seed,
    folder,
    status: "done",
    value: measure?.of(report, "deployed") ?? null,
    sizeBytes: report.sizeBytes.quantized,
    latencyMs: report.latencyMs.deployed.batch1,
    seconds: report.seconds.total,
    usable: report.losses.length === 0,
    error: null,
  };
}

/** Pairs of the same seed differ by the setting alone. */
function differenceOf(base: readonly AblationCell[], cells: readonly AblationCell[]): Spread | null {
  const pairs = cells.flatMap(({ seed, value }) => {
    const other = base.find((cell) => cell.seed === seed)?.value;
    return value === null || other === null || other === undefined ? [] : [value - other];
  });
  return spreadOf(pairs);
}
