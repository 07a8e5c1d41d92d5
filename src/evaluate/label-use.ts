// What the labels of data are for a model: class indices, measured values, or nothing.
import { type Dataset, noLabels } from "../data/dataset.ts";
import { type DType, isFloat } from "../ir/dtype.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Dim, Graph } from "../ir/graph.ts";
import { type ClassPlace, fitLabels, softmaxAxis } from "../passes/class-scores.ts";

/** What a model gives that labels may belong to. */
export interface LabeledOutput {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
  /** Of the Softmax that gives it. */
  readonly softmaxAxis?: number | undefined;
}

export type LabelUse =
  /** Indices of classes, one a sample or one a position. */
  | { readonly kind: "classes"; readonly place: ClassPlace }
  /** What the output should be. */
  | { readonly kind: "values" }
  /** There are none, or they do not fit; `reason` says why and what to do. */
  | { readonly kind: "none"; readonly areGiven: boolean; readonly reason: string };

/** Throws BAD_DATA where the labels are of no use. */
export function usableLabels(use: LabelUse, dataset: Dataset): Exclude<LabelUse, { kind: "none" }> {
  if (use.kind !== "none") return use;
  if (!use.areGiven) throw noLabels(dataset, "there is nothing to measure against. Give --test-data with labels.");
  throw new FrostbitError("BAD_DATA", `The labels of "${dataset.name}" cannot be used: ${use.reason}`);
}

/** What to do where labels of two classes may be measured as values; `undefined` where they are not. */
export function signsHint(
  labels: LabelUse["kind"] | "binary" | "metric",
  { name, labelValues }: Dataset,
): string | undefined {
  if (labels !== "values" || labelValues !== "signs") return undefined;
  return `The labels of "${name}" are −1 and 1, and are measured as values that the output should be. Where they are two classes, save them as 0 and 1, (labels + 1) / 2: accuracy is measured then.`;
}

const printShape = (shape: readonly Dim[]): string => `[${shape.join(", ")}]`;
const none = (reason: string): LabelUse => ({ kind: "none", areGiven: true, reason });

/** The labels of a graph's first output. */
export function labelUse(graph: Graph, dataset: Dataset): LabelUse {
  const [first, ...others] = graph.outputs.map((name): LabeledOutput => {
    const type = graph.values.get(name);
    assert(type, `output "${name}" has no type`);
    return { ...type, name, softmaxAxis: softmaxAxis(graph, name) };
  });
  return useOfLabels(first, dataset, others);
}

/** `others`: outputs that the labels may belong to instead, which the reason then names. */
export function useOfLabels(output: LabeledOutput, dataset: Dataset, others: readonly LabeledOutput[] = []): LabelUse {
  const use = useFor(output, dataset);
  const other = use.kind === "none" && use.areGiven && others.find((each) => useFor(each, dataset).kind !== "none");
  return other
    ? none(`${misfit(output, dataset)} They fit output "${other.name}": name it as the output to measure.`)
    : use;
}

function useFor(output: LabeledOutput, dataset: Dataset): LabelUse {
  const { hasLabels, labelShape = [], labelValues, classAxis = output.softmaxAxis, target, notClasses } = dataset;
  if (!hasLabels && !target)
    return notClasses === undefined
      ? { kind: "none", areGiven: false, reason: "there are none." }
      : none(`${notClasses} Repair them.`);
  if (!isFloat(output.dtype)) return none(`${misfit(output, dataset)} Scores and measured values are floats.`);
  const fit = hasLabels ? fitLabels(output.shape, labelShape, classAxis) : "none";
  if (typeof fit === "object") return { kind: "classes", place: fit };
  if (fit === "ambiguous")
    return none(
      `output "${output.name}" is ${printShape(output.shape)}, and its classes may lie along axis 1 or the last one. Let a Softmax along the axis of the classes give the output.`,
    );
  if (fit === "elements" && labelValues === "one-hot")
    return none(
      `they are one-hot, ${printShape(["samples", ...labelShape])} with a single 1 for each class index. Save the indices, their argmax along the axis of the classes.`,
    );
  if (fit === "elements" && labelValues !== "more") return { kind: "classes", place: { axis: "none", classes: 2 } };
  const isValue = fit === "elements" || (target && fitLabels(output.shape, target.shape) === "elements");
  return isValue ? { kind: "values" } : none(misfit(output, dataset, notClasses));
}

function misfit(
  { name, dtype, shape }: LabeledOutput,
  { hasLabels, labelShape = [], target }: Dataset,
  notClasses?: string,
): string {
  const given =
    hasLabels || !target
      ? `whole numbers ${printShape(["samples", ...labelShape])}`
      : `${target.dtype} ${printShape(["samples", ...target.shape])}`;
  const why = notClasses === undefined ? "" : ` ${notClasses[0].toUpperCase()}${notClasses.slice(1)}`;
  return `they are ${given}, output "${name}" ${dtype} ${printShape(shape)}. Fit are class indices of one axis less than the scores, or what the output should be, of its shape.${why}`;
}
