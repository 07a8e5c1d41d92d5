// Which inputs of a graph are held channels last from the start, so that no step has to turn them.
import type { Graph, Node } from "../../ir/graph.ts";
import { isStatic } from "../../ops/dims.ts";
import { granularityOf } from "../../ops/granularity.ts";
import { isSame } from "./lowerings/broadcasting.ts";
import { elementwiseOps } from "./lowerings/elementwise.ts";
import { isEitherLayout } from "./plan.ts";

/** Images of fewer channels are turned by a step: all threads do that, where an input may be written by one. */
const minChannels = 8;

/** By operator, the inputs that are images and go channels last, as its output does where it is one. */
const images: Readonly<Record<string, readonly number[]>> = {
  Conv: [0],
  ConvGradientInput: [0],
  ConvGradientWeight: [0, 1],
};
const givesImage: ReadonlySet<string> = new Set(["Conv", "ConvGradientInput"]);

/** Those that convolutions read, or that meet what convolutions give, element by element. */
export function imageInputs(graph: Graph): ReadonlySet<string> {
  const candidates = graph.inputs.filter((input) => isImage(graph, input));
  if (candidates.length === 0) return new Set();
  const anchors = new Set<string>();
  const beside = new Map<string, string[]>();
  for (const node of graph.nodes) {
    for (const at of images[node.op] ?? []) anchors.add(node.inputs[at]);
    if (givesImage.has(node.op)) anchors.add(node.outputs[0]);
    const [first, ...others] = sameElements(graph, node);
    for (const other of others) {
      beside.set(first, [...(beside.get(first) ?? []), other]);
      beside.set(other, [...(beside.get(other) ?? []), first]);
    }
  }
  return new Set(candidates.filter((input) => reaches(input, beside, anchors)));
}

export function isImage(graph: Graph, value: string): boolean {
  const { dtype, shape } = graph.values.get(value) ?? { dtype: "float32", shape: [] };
  return dtype === "float32" && isStatic(shape) && !isEitherLayout(shape) && Number(shape[1]) >= minChannels;
}

/** The values of a node whose elements go together, whatever their layout is. */
function sameElements(graph: Graph, node: Node): readonly string[] {
  const isByElement =
    node.op in elementwiseOps ||
    /^(RandomChoice|BatchNormalization)/.test(node.op) ||
    (/^FakeQuantize/.test(node.op) && granularityOf(node) === "tensor");
  const [output] = node.outputs;
  const shape = graph.values.get(output)?.shape;
  if (!isByElement || !shape) return [];
  return [...node.inputs, output].filter((value) => isSame(graph.values.get(value)?.shape ?? [], shape));
}

function reaches(start: string, beside: ReadonlyMap<string, readonly string[]>, goals: ReadonlySet<string>): boolean {
  const seen = new Set([start]);
  for (const value of seen) {
    if (goals.has(value)) return true;
    for (const next of beside.get(value) ?? []) seen.add(next);
  }
  return false;
}
