// Which products run in integers: the very codes that are exported, with exact sums.
import type { Graph, Node } from "../../ir/graph.ts";
import { numberAttribute } from "../../ops/attributes.ts";
import { isTransposed } from "../../ops/matrix-shape.ts";
import { resolveAxis } from "../../ops/operands.ts";
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

const rankOf = (node: Node, graph: Graph): number => graph.values.get(node.inputs[0])?.shape.length ?? 0;

/** Weights around zero, with a scale for all or for each output channel, whose codes the processor multiplies exactly. */
function hasWeightCodes(node: Node | undefined, outputs: number, graph: Graph, { integers }: Numerics): boolean {
  const bounds = boundsOf(node, graph);
  if (!node || !bounds || (node.inputs[2] ?? "") !== "") return false;
  const isByOutput =
    isPerTensor(node) || resolveAxis(node, numberAttribute(node, "axis", 0), rankOf(node, graph)) === outputs;
  const largest = Math.max(...bounds.map(Math.abs));
  return isByOutput && largest <= integers && bounds[0] >= -128 && bounds[1] <= 127;
}

/** So many products of codes fit 32 bits. */
const mostTerms = 1 << 16;

/** A product of whatever by a matrix, with nothing but one number per column added. */
function isPlainProduct(node: Node, graph: Graph): boolean {
  const [x, w, bias] = node.inputs.map((name) => graph.values.get(name)?.shape);
  if (!x || !w || x.length < 2 || w.length !== 2 || ![...x, ...w].every((size) => typeof size === "number"))
    return false;
  if (Number(x.at(-1)) > mostTerms || [...x, ...w].includes(0)) return false;
  if (node.op === "MatMul") return true;
  const isScaled = numberAttribute(node, "alpha", 1) !== 1 || numberAttribute(node, "beta", 1) !== 1;
  const [columns] = isTransposed(node, "transB") ? w : [w[1]];
  const addsColumns = !bias || (bias.at(-1) === columns && bias.slice(0, -1).every((size) => size === 1));
  return node.op === "Gemm" && !isScaled && !isTransposed(node, "transA") && addsColumns;
}

/** The axis of a node's weights that counts its outputs; `undefined` where it multiplies no codes. */
function outputAxis(node: Node, graph: Graph): number | undefined {
  if (node.op === "Conv") return graph.values.get(node.inputs[0])?.shape.length === 4 ? 0 : undefined;
  if (!isPlainProduct(node, graph)) return undefined;
  return node.op === "Gemm" && isTransposed(node, "transB") ? 0 : 1;
}

/** Whether a node multiplies the codes of its first two inputs. */
export function multipliesIntegers(node: Node, graph: Graph, { producers }: Uses, numerics: Numerics): boolean {
  const outputs = outputAxis(node, graph);
  if (outputs === undefined) return false;
  const [x, w] = node.inputs.map((name) => producers.get(name));
  return hasCodes(x, graph) && hasWeightCodes(w, outputs, graph, numerics);
}
