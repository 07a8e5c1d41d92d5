// Which value of a graph holds class scores, and where its classes lie.
import { isFloat } from "../ir/dtype.ts";
import { type Dim, type Graph, type Node, producers } from "../ir/graph.ts";
import { toNumbers } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";

/** Where class scores lie in an output. */
export interface ClassPlace {
  /** The axis of the classes; "none": each element scores class 1 against class 0. */
  readonly axis: number | "none";
  readonly classes: number;
}

/** What a classifier's loss and accuracy are of. */
export interface ClassScores extends ClassPlace {
  readonly output: string;
  /** What the Softmax or Sigmoid that gives the output reads; else the output. */
  readonly logits: string;
  /** Whether the output is the probabilities of `logits`. */
  readonly givesProbabilities: boolean;
}

/** Where a label of each sample, or of each of its positions, meets the scores of a value of this shape. */
export type LabelFit = { readonly axis: number; readonly classes: number } | "elements" | "none" | "ambiguous";

const withoutOnes = (shape: readonly Dim[]): readonly Dim[] => shape.filter((size) => size !== 1);

const agrees = (shape: readonly Dim[], labels: readonly number[]): boolean => {
  const [sizes, wanted] = [withoutOnes(shape), withoutOnes(labels)];
  return sizes.length === wanted.length && sizes.every((size, i) => typeof size === "string" || size === wanted[i]);
};

/**
 * `shape` is that of the batch's scores, `labels` that of one sample's labels; axes of size 1 do not count. Classes lie along
 * axis 1 or the last one; where both would do, along `softmaxAxis`.
 */
export function fitLabels(shape: readonly Dim[], labels: readonly number[], softmaxAxis?: number): LabelFit {
  if (shape.length === 0) return "none";
  if (agrees(shape.slice(1), labels)) return "elements";
  const wanted = withoutOnes(labels);
  const usual = wanted.length === 0 ? shape.map((_, axis) => axis).slice(1) : [1, shape.length - 1];
  const axes = [...new Set(usual)].filter((axis) => {
    const size = shape[axis];
    const rest = shape.filter((_, other) => other !== 0 && other !== axis);
    return typeof size === "number" && size > 1 && agrees(rest, labels);
  });
  const [axis] = axes.length > 1 ? axes.filter((each) => each === softmaxAxis) : axes;
  if (axis === undefined) return axes.length > 1 ? "ambiguous" : "none";
  return { axis, classes: Number(shape[axis]) };
}

/** The scores of a graph's first output, whose classes lie there. */
export const scoresAt = (graph: Graph, { axis, classes }: ClassPlace): ClassScores =>
  axis === "none" ? binaryScores(graph) : scoresAlong(graph, axis, classes);

/** Of the Softmax that gives an output. */
export const softmaxAxis = (graph: Graph, output: string): number | undefined => softmaxOf(graph, output)?.axis;

/** The class scores that show without labels: of shape [samples, classes], or what a Softmax or Sigmoid gives. */
export function scoresWithoutLabels(graph: Graph): ClassScores | undefined {
  const [output] = graph.outputs;
  const type = graph.values.get(output);
  if (!type || !isFloat(type.dtype)) return undefined;
  const axis = softmaxOf(graph, output)?.axis ?? (type.shape.length === 2 ? 1 : undefined);
  if (sigmoidInput(graph, output) !== undefined && (axis === undefined || type.shape[axis] === 1))
    return binaryScores(graph);
  const classes = type.shape[axis ?? 0];
  return axis !== undefined && typeof classes === "number" && classes > 1
    ? scoresAlong(graph, axis, classes)
    : undefined;
}

/** The scores of a graph of unknown labels, for a step like the one that will train. */
export function likelyScores(graph: Graph): ClassScores | undefined {
  const [output] = graph.outputs;
  const shape = graph.values.get(output)?.shape ?? [];
  const known = scoresWithoutLabels(graph);
  if (known || shape.length === 0) return known;
  const fit = fitLabels(shape, []);
  if (fit === "elements") return binaryScores(graph);
  const classes = typeof fit === "string" ? shape[1] : fit.classes;
  return typeof classes === "number" ? scoresAt(graph, { axis: 1, classes }) : undefined;
}

function scoresAlong(graph: Graph, axis: number, classes: number): ClassScores {
  const [output] = graph.outputs;
  const softmax = softmaxOf(graph, output);
  const isSoftmax = softmax !== undefined && (softmax.axis === axis || softmax.axis === undefined);
  return { output, logits: isSoftmax ? softmax.input : output, givesProbabilities: isSoftmax, axis, classes };
}

function binaryScores(graph: Graph): ClassScores {
  const [output] = graph.outputs;
  const logits = sigmoidInput(graph, output);
  return {
    output,
    logits: logits ?? output,
    givesProbabilities: logits !== undefined,
    axis: "none",
    classes: 2,
  };
}

/** The outputs that a difference can be taken of. */
export const floatOutputs = (graph: Graph): readonly string[] =>
  graph.outputs.filter((output) => isFloat(graph.values.get(output)?.dtype ?? "int64"));

/** What a Softmax reads, also one written as exp(x) / Σ exp(x), as JAX exports it, whose axis is that of the sum. */
function softmaxOf(graph: Graph, output: string): { input: string; axis: number | undefined } | undefined {
  const made = producers(graph);
  const node = made.get(output);
  const rank = graph.values.get(output)?.shape.length ?? 0;
  const axis = node && numberAttribute(node, "axis", -1);
  if (node?.op === "Softmax" && axis !== undefined)
    return { input: node.inputs[0], axis: axis < 0 ? axis + rank : axis };
  const [numerator, denominator] = node?.op === "Div" ? node.inputs.map((input) => made.get(input)) : [];
  if (numerator?.op !== "Exp") return undefined;
  const sum = throughMoves(made, denominator, new Set([...reshapingOps, "Expand"]));
  if (sum?.op !== "ReduceSum" || sum.inputs[0] !== numerator.outputs[0]) return undefined;
  const axes = graph.constants.get(sum.inputs[1] ?? "");
  const [first] = axes && axes.data.length === 1 ? toNumbers(axes) : [];
  return { input: numerator.inputs[0], axis: first === undefined || first >= 0 ? first : first + rank };
}

/** What a Sigmoid reads whose values reach the output in the same order, also one written as 1 / (1 + exp(−x)). */
function sigmoidInput(graph: Graph, output: string): string | undefined {
  const made = producers(graph);
  const node = throughMoves(made, made.get(output), reshapingOps);
  if (node?.op === "Sigmoid") return node.inputs[0];
  const isOne = (name: string): boolean => {
    const value = graph.constants.get(name);
    return value !== undefined && toNumbers(value).every((each) => each === 1);
  };
  const sum = node?.op === "Div" && isOne(node.inputs[0]) ? made.get(node.inputs[1]) : undefined;
  const reciprocal = node?.op === "Reciprocal" ? made.get(node.inputs[0]) : sum;
  if (reciprocal?.op !== "Add") return undefined;
  const [exp] = reciprocal.inputs.filter((input) => !isOne(input)).map((input) => made.get(input));
  const negative = exp?.op === "Exp" ? made.get(exp.inputs[0]) : undefined;
  return reciprocal.inputs.some(isOne) && negative?.op === "Neg" ? negative.inputs[0] : undefined;
}

function throughMoves(
  made: ReadonlyMap<string, Node>,
  start: Node | undefined,
  moving: ReadonlySet<string>,
): Node | undefined {
  let node = start;
  while (node && moving.has(node.op)) node = made.get(node.inputs[0]);
  return node;
}

/** Operators that keep the values and their order. */
const reshapingOps: ReadonlySet<string> = new Set(["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"]);
