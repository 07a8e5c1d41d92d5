// Losses, as nodes added to the training graph.
import type { Builder } from "../ir/builder.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { floatOutputs, logitsOf } from "../passes/class-scores.ts";

export const lossNames = ["cross-entropy", "distill", "mse"] as const;
export type LossName = (typeof lossNames)[number];

export const labelsInput = "frostbit/labels";
export const targetInput = "frostbit/target";

export interface LossOptions {
  readonly loss: LossName;
  /** The float model, which "distill" follows, and "mse" where the data has no targets. Of the graph's batch size. */
  readonly teacher?: Graph;
}

/** Adds the loss of a graph whose nodes `build` holds. */
export function addLoss(build: Builder, graph: Graph, { loss, teacher }: LossOptions): string {
  if (loss === "cross-entropy") return addCrossEntropy(build, logitsOf(graph));
  if (loss === "mse") return addMeanSquaredError(build, floatOutputs(graph), teacher);
  if (!teacher) throw new FrostbitError("BAD_OPTION", 'loss "distill" needs the float model as teacher.');
  return addDistillation(build, logitsOf(graph), teacher);
}

/** Mean cross-entropy against the labels, an input of the graph. */
export function addCrossEntropy(build: Builder, logits: string): string {
  const batch = build.type(logits).shape[0];
  const labels = build.input(labelsInput, { dtype: "int64", shape: [batch] });
  return build.node("SoftmaxCrossEntropyLoss", [logits, labels], { reduction: "mean" }, "loss");
}

/** Mean cross-entropy against the float model's probabilities: the teacher runs inside the step, no labels needed. */
function addDistillation(build: Builder, logits: string, teacher: Graph): string {
  const target = build.node("Softmax", [inlineGraph(build, teacher, "teacher/").get(logitsOf(teacher)) ?? ""], {
    axis: -1,
  });
  const logProbabilities = build.node("LogSoftmax", [logits], { axis: -1 });
  const total = build.node("ReduceSum", [build.node("Mul", [target, logProbabilities])], { keepdims: 0 });
  return build.node("Mul", [total, build.scalar(-1 / Number(build.type(logits).shape[0]), total)], {}, "loss");
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
  const taught = teacher && inlineGraph(build, teacher, "teacher/");
  const pairs = taught
    ? outputs.map((output) => [output, taught.get(output) ?? ""])
    : [[outputs[0], build.input(targetInput, build.type(outputs[0]))]];
  const errors = pairs.map(([output, wanted]) => squaredError(build, output, wanted));
  return build.node("Identity", [errors.reduce((sum, error) => build.node("Add", [sum, error]))], {}, "loss");
}

/** Adds another graph's nodes and constants under a prefix, on the same inputs; gives its values' new names. */
function inlineGraph(build: Builder, graph: Graph, prefix: string): ReadonlyMap<string, string> {
  const names = new Map<string, string>(graph.inputs.map((input) => [input, input]));
  for (const [name, value] of graph.constants) names.set(name, build.constant(value, prefix + name));
  for (const node of graph.nodes) inlineNode(build, node, prefix, names);
  return names;
}

function inlineNode(build: Builder, node: Node, prefix: string, names: Map<string, string>): void {
  const inputs = node.inputs.map((input) => (input === "" ? undefined : names.get(input)));
  const outputs = build.nodes(
    node.op,
    inputs,
    node.outputs.map((output) => output !== ""),
    node.attributes,
    prefix + node.name,
  );
  node.outputs.forEach((output, i) => {
    if (output !== "") names.set(output, outputs[i]);
  });
}
