// Which value of a graph holds a classifier's scores.
import { isFloat } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { type Graph, type Node, producers } from "../ir/graph.ts";

/** The scores that a classifier's loss is taken of: its first output, or what the Softmax that gives it reads. */
export function logitsOf(graph: Graph): string {
  const logits = findLogits(graph);
  const [output] = graph.outputs;
  if (logits === undefined)
    throw new FrostbitError(
      "BAD_MODEL",
      `The model's first output "${output}" has shape [${(graph.values.get(output)?.shape ?? []).join(", ")}]; a classifier's is [batch, classes]. Name the output that holds the class scores with --outputs, or use --loss mse, which any output can follow.`,
    );
  return logits;
}

/** The same; `undefined` where the first output is not class scores. */
export function findLogits(graph: Graph): string | undefined {
  const [output] = graph.outputs;
  const logits = softmaxInput(producers(graph), output) ?? output;
  const type = graph.values.get(logits);
  return type?.shape.length === 2 && isFloat(type.dtype) ? logits : undefined;
}

/** The outputs that a difference can be taken of. */
export const floatOutputs = (graph: Graph): readonly string[] =>
  graph.outputs.filter((output) => isFloat(graph.values.get(output)?.dtype ?? "int64"));

/** How many classes a classifier tells apart. */
export const classesOf = (graph: Graph): number => Number(graph.values.get(logitsOf(graph))?.shape[1]);

/** What a Softmax reads, also one written as exp(x) / Σ exp(x), as JAX exports it. */
function softmaxInput(made: ReadonlyMap<string, Node>, output: string): string | undefined {
  const node = made.get(output);
  if (node?.op === "Softmax") return node.inputs[0];
  const [numerator, denominator] = node?.op === "Div" ? node.inputs.map((input) => made.get(input)) : [];
  if (numerator?.op !== "Exp") return undefined;
  let sum = denominator;
  while (sum && movingOps.has(sum.op)) sum = made.get(sum.inputs[0]);
  return sum?.op === "ReduceSum" && sum.inputs[0] === numerator.outputs[0] ? numerator.inputs[0] : undefined;
}

const movingOps: ReadonlySet<string> = new Set(["Reshape", "Expand", "Unsqueeze", "Identity"]);
