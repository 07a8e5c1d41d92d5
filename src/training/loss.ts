// Losses, as nodes added to the training graph.
import { ignoredLabel } from "../data/labels.ts";
import type { Builder } from "../ir/builder.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { type ClassPlace, type ClassScores, floatOutputs, likelyScores, scoresAt } from "../passes/class-scores.ts";
import { inlineGraph } from "../passes/inline-graph.ts";

export const lossNames = ["cross-entropy", "distill", "mse"] as const;
export type LossName = (typeof lossNames)[number];

export const labelsInput = "frostbit/labels";
export const targetInput = "frostbit/target";

export interface LossOptions {
  readonly loss: LossName;
  /** The float model, which "distill" follows, and "mse" where the data has no targets. Of the graph's batch size. */
  readonly teacher?: Graph;
  /** Where the class scores lie; absent: where they are likely to. */
  readonly classes?: ClassPlace | undefined;
}

/** Adds the loss of a graph whose nodes `build` holds. */
export function addLoss(build: Builder, graph: Graph, { loss, teacher, classes }: LossOptions): string {
  if (loss === "mse") return addMeanSquaredError(build, floatOutputs(graph), teacher);
  const scores = classes ? scoresAt(graph, classes) : likelyScores(graph);
  if (!scores) throw noScores(graph);
  if (loss === "cross-entropy") return addCrossEntropy(build, scores);
  if (!teacher) throw new FrostbitError("BAD_OPTION", 'loss "distill" needs the float model as teacher.');
  return addDistillation(build, scores, teacher);
}

/** Mean cross-entropy against the labels, an input of the graph; where each position has a label, "ignored" ones do not count. */
function addCrossEntropy(build: Builder, scores: ClassScores): string {
  const { logits, axis, classes } = scores;
  const { shape } = build.type(logits);
  const [batch] = shape;
  const positions = shape.slice(1).filter((size, i) => i + 1 !== axis && size !== 1);
  const labels = build.input(labelsInput, { dtype: "int64", shape: [batch, ...positions] });
  if (axis === "none") return addBinaryCrossEntropy(build, logits, labels, positions.length > 0);
  return meanCrossEntropy(build, { logits, axis, classes }, labels);
}

/** Against labels [batch, …positions]. */
export function meanCrossEntropy(
  build: Builder,
  scores: { readonly logits: string; readonly axis: number; readonly classes: number },
  labels: string,
): string {
  const { logits, axis, classes } = scores;
  const { shape } = build.type(logits);
  const positions = build.type(labels).shape.length - 1;
  const ignoring = positions > 0 ? { ignore_index: ignoredLabel(scores) } : {};
  const isPlain = axis === 1 && shape.length === positions + 2;
  const [rows, of] = isPlain ? [logits, labels] : [rowsOfClasses(build, logits, axis, classes), flat(build, labels)];
  return build.node("SoftmaxCrossEntropyLoss", [rows, of], { reduction: "mean", ...ignoring }, "loss");
}

/** [rows, classes] */
function rowsOfClasses(build: Builder, scores: string, axis: number, classes: number): string {
  const axes = build.type(scores).shape.map((_, i) => i);
  const perm = [...axes.filter((each) => each !== axis), axis];
  const last = axis === axes.length - 1 ? scores : build.node("Transpose", [scores], { perm });
  return build.node("Reshape", [last, build.ints([-1, classes])]);
}

const flat = (build: Builder, value: string): string => build.node("Reshape", [value, build.ints([-1])]);

/** softplus(z) − y·z, the mean over the elements whose label is a class: −log σ(z) for label 1, −log σ(−z) for label 0. */
function addBinaryCrossEntropy(build: Builder, logits: string, labels: string, ignores: boolean): string {
  const { dtype } = build.type(logits);
  const [z, given] = [flat(build, logits), flat(build, labels)];
  const wanted = build.node("Cast", [given], { to: dtype });
  const losses = build.node("Sub", [build.node("Softplus", [z]), build.node("Mul", [wanted, z])]);
  if (!ignores) return build.node("ReduceMean", [losses], { keepdims: 0 }, "loss");
  const isKept = build.node("Less", [given, build.ints([ignoredLabel({ classes: 2 })])]);
  const sum = (value: string): string => build.node("ReduceSum", [value], { keepdims: 0 });
  const total = sum(build.node("Where", [isKept, losses, build.scalar(0, z)]));
  const count = build.node("Max", [sum(build.node("Cast", [isKept], { to: dtype })), build.scalar(1, z)]);
  return build.node("Div", [total, count], {}, "loss");
}

/** Mean cross-entropy against the float model's probabilities: the teacher runs inside the step, no labels needed. */
function addDistillation(build: Builder, scores: ClassScores, teacher: Graph): string {
  const { logits, axis } = scores;
  const taught =
    inlineGraph(build, teacher, "teacher/", sameInputs(teacher)).get(scoresAt(teacher, scores).logits) ?? "";
  if (axis === "none") return addBinaryDistillation(build, logits, taught);
  const classAxis = build.type(logits).shape.length === 2 ? -1 : axis;
  const target = build.node("Softmax", [taught], { axis: classAxis });
  const logProbabilities = build.node("LogSoftmax", [logits], { axis: classAxis });
  const total = build.node("ReduceSum", [build.node("Mul", [target, logProbabilities])], { keepdims: 0 });
  const rows = build
    .type(logits)
    .shape.reduce<number>((product, size, i) => (i === axis ? product : product * Number(size)), 1);
  return build.node("Mul", [total, build.scalar(-1 / rows, total)], {}, "loss");
}

/** softplus(z) − σ(t)·z, the mean over all elements. */
function addBinaryDistillation(build: Builder, logits: string, taught: string): string {
  const wanted = build.node("Sigmoid", [taught]);
  const losses = build.node("Sub", [build.node("Softplus", [logits]), build.node("Mul", [wanted, logits])]);
  return build.node("ReduceMean", [losses], { keepdims: 0 }, "loss");
}

export function noScores({ outputs: [output], values }: Graph): FrostbitError {
  const shape = (values.get(output)?.shape ?? []).join(", ");
  return new FrostbitError(
    "BAD_MODEL",
    `The model's first output "${output}" has shape [${shape}], which shows no class scores; a classifier's is [batch, classes]. Name the output that holds the class scores with --outputs, or use --loss mse, which any output can follow.`,
  );
}

/** The mean of (output − wanted)², over all elements. */
export function squaredError(build: Builder, output: string, wanted: string): string {
  const difference = build.node("Sub", [output, wanted]);
  return build.node("ReduceMean", [build.node("Mul", [difference, difference])], { keepdims: 0 });
}

/**
 * The mean of (output − wanted)², over all elements. With a teacher the sum of this over all outputs, against the teacher's;
 * without one that of the first output, against the targets, an input of the graph.
 */
export function addMeanSquaredError(build: Builder, outputs: readonly string[], teacher: Graph | undefined): string {
  const taught = teacher && inlineGraph(build, teacher, "teacher/", sameInputs(teacher));
  const pairs = taught
    ? outputs.map((output) => [output, taught.get(output) ?? ""])
    : [[outputs[0], build.input(targetInput, build.type(outputs[0]))]];
  const errors = pairs.map(([output, wanted]) => squaredError(build, output, wanted));
  return build.node("Identity", [errors.reduce((sum, error) => build.node("Add", [sum, error]))], {}, "loss");
}

/** The teacher reads what the graph reads. */
const sameInputs = ({ inputs }: Graph): ReadonlyMap<string, string> => new Map(inputs.map((input) => [input, input]));
