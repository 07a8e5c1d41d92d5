// Which products run in integers: the very codes that are exported, with exact sums.
import type { Graph, Node } from "../../ir/graph.ts";
import { numberAttribute } from "../../ops/attributes.ts";
import type { Numerics, Uses } from "./lowering.ts";

/** The bounds of a quantizer that is constant in them. */
function boundsOf(node: Node | undefined, graph: Graph): readonly [low: number, high: number] | undefined {
  if (node?.op !== "FakeQuantize") return undefined;
  const [low, high] = [3, 4].map((i) => graph.constants.get(node.inputs[i])?.data[0]);
  return low === undefined || high === undefined ? undefined : [Number(low), Number(high)];
}

const isPerTensor = (node: Node): boolean => numberAttribute(node, "axis") === undefined;

/** Activations with one quantizer and at most 8 bits. */
function hasCodes(node: Node | undefined, graph: Graph): boolean {
  const bounds = boundsOf(node, graph);
  return node !== undefined && bounds !== undefined && isPerTensor(node) && bounds[1] - bounds[0] <= 255;
}

/** Weights around zero, with a scale for all or for each output channel, whose codes the processor multiplies exactly. */
function hasWeightCodes(node: Node | undefined, graph: Graph, { integers }: Numerics): boolean {
  const bounds = boundsOf(node, graph);
  if (!node || !bounds || (node.inputs[2] ?? "") !== "") return false;
  const isByOutput = isPerTensor(node) || numberAttribute(node, "axis") === 0;
  const largest = Math.max(...bounds.map(Math.abs));
  return isByOutput && largest <= integers && bounds[0] >= -128 && bounds[1] <= 127;
}

/** Whether a node multiplies the codes of its first two inputs. */
export function multipliesIntegers(node: Node, graph: Graph, { producers }: Uses, numerics: Numerics): boolean {
  if (node.op !== "Conv" || (graph.values.get(node.inputs[0])?.shape.length ?? 0) !== 4) return false;
  const [x, w] = node.inputs.map((name) => producers.get(name));
  return hasCodes(x, graph) && hasWeightCodes(w, graph, numerics);
}
