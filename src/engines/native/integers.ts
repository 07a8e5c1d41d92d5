// Which products run in integers, on the codes that are exported and with exact sums; and why others run in floats.
import type { Graph, Node } from "../../ir/graph.ts";
import { numbersOf, sizeOf } from "../../ir/tensor.ts";
import { numberAttribute } from "../../ops/attributes.ts";
import { convolutionWindow } from "../../ops/convolution-shape.ts";
import { isStatic } from "../../ops/dims.ts";
import { granularityOf, isGrouped } from "../../ops/granularity.ts";
import { isMatrixProduct, takesBias, weightAxesOf } from "../../ops/linear.ts";
import { isTransposed } from "../../ops/matrix-shape.ts";
import { resolveAxis } from "../../ops/operands.ts";
import { geometryOf, isFast, roundsSums } from "./convolution-geometry.ts";
import type { Numerics, Uses } from "./lowering.ts";
import { fixed } from "./plan.ts";

/** The bounds of a quantizer that is constant in them. */
function boundsOf(node: Node, graph: Graph): readonly [low: number, high: number] | undefined {
  const [low, high] = [3, 4].map((i) => graph.constants.get(node.inputs[i])?.data[0]);
  return low === undefined || high === undefined ? undefined : [Number(low), Number(high)];
}

const isPerTensor = (node: Node): boolean => granularityOf(node) === "tensor";

/** Activations have one quantizer and at most 8 bits. */
function whyNoCodes(node: Node | undefined, graph: Graph): string | undefined {
  if (node?.op !== "FakeQuantize") return "its input has no quantizer";
  const bounds = boundsOf(node, graph);
  if (!bounds) return "the bounds of its input's quantizer are not constant";
  if (!isPerTensor(node)) return "its input's quantizer has several scales";
  const span = bounds[1] - bounds[0];
  return span <= 255 ? undefined : `its input has ${span + 1} codes, more than 8 bits hold`;
}

const rankOf = (node: Node, graph: Graph): number => graph.values.get(node.inputs[0])?.shape.length ?? 0;

/** Weights are symmetric around zero, with a scale for all or for each output channel, and the processor multiplies their codes exactly. */
function whyNoWeightCodes(
  node: Node | undefined,
  outputs: number,
  graph: Graph,
  { integers }: Numerics,
): string | undefined {
  if (node?.op === "DequantizeLinear") return whyNoStoredCodes(node, outputs, graph, integers);
  if (node?.op !== "FakeQuantize") return "its weight has no quantizer";
  const bounds = boundsOf(node, graph);
  if (!bounds) return "the bounds of its weight's quantizer are not constant";
  if ((node.inputs[2] ?? "") !== "") return "its weight's quantizer has a zero point";
  const granularity = granularityOf(node, rankOf(node, graph));
  if (isGrouped(granularity)) return "its weight has a scale per group";
  if (granularity !== "tensor" && granularity.axis !== outputs)
    return "its weight's scales do not belong to output channels";
  if (bounds[0] < -128 || bounds[1] > 127) return `its weight's codes ${bounds.join(" to ")} do not fit 8 bits`;
  return whyInexact(Math.max(...bounds.map(Math.abs)), integers);
}

const whyInexact = (largest: number, integers: number): string | undefined =>
  largest <= integers
    ? undefined
    : `its weight's codes go to ${largest}; without AVX-512's VNNI instructions only those up to ${integers} are multiplied exactly`;

const storedCodes: ReadonlySet<string | undefined> = new Set(["int8", "int4", "int2"]);

/** Weights that are stored as integers are codes already. */
function whyNoStoredCodes(node: Node, outputs: number, graph: Graph, integers: number): string | undefined {
  const [codes, scale, zero = ""] = node.inputs;
  const dtype = graph.values.get(codes)?.dtype;
  if (!storedCodes.has(dtype)) return `its weight is stored as ${dtype}, not in 8 signed bits or fewer`;
  const zeros = graph.constants.get(zero);
  if (zero !== "" && !(zeros && numbersOf(zeros).every((value) => value === 0))) return "its weight has a zero point";
  const scales = graph.values.get(scale)?.shape ?? [];
  const isOne = scales.every((size) => size === 1);
  if (!isOne && numberAttribute(node, "block_size", 0) !== 0) return "its weight has a scale per group";
  if (!isOne && resolveAxis(node, numberAttribute(node, "axis", 1), rankOf(node, graph)) !== outputs)
    return "its weight's scales do not belong to output channels";
  return whyInexact(largestOf(codes, graph, integers), integers);
}

/** The largest magnitude that stored codes have or, where it makes no difference, may have. */
function largestOf(codes: string, graph: Graph, integers: number): number {
  const stored = graph.constants.get(codes);
  if (!stored || integers >= 128) return 128;
  let largest = 0;
  for (const code of numbersOf(stored)) largest = Math.max(largest, Math.abs(code));
  return largest;
}

/** So many products of codes fit 32 bits. */
const maxTerms = 1 << 16;
export const fitsSums = (terms: number): boolean => terms <= maxTerms;
const whyTooMany = (terms: number): string | undefined =>
  fitsSums(terms) ? undefined : `sums of ${terms} products of codes do not fit 32 bits`;

/** The second operand is one matrix, and at most one number per column is added. */
function whyNoMatrixProduct(node: Node, graph: Graph): string | undefined {
  const [x, w, bias] = node.inputs.map((name) => graph.values.get(name)?.shape);
  if (!x || !w || x.length < 2 || w.length !== 2) return "its second operand is not one matrix";
  if (!isStatic(x) || !isStatic(w)) return "its sizes are known only when it runs";
  if ([...x, ...w].includes(0)) return "it is empty";
  const terms = x[x.length - 1];
  const tooMany = whyTooMany(terms);
  if (tooMany !== undefined || !takesBias(node)) return tooMany;
  if (numberAttribute(node, "alpha", 1) !== 1 || numberAttribute(node, "beta", 1) !== 1)
    return "its alpha or beta is not 1";
  if (isTransposed(node, "transA")) return "its input is transposed";
  const columns = w[isTransposed(node, "transB") ? 0 : 1];
  const addsColumns = !bias || (bias.at(-1) === columns && bias.slice(0, -1).every((size) => size === 1));
  return addsColumns ? undefined : "what it adds is not one number per column";
}

function whyNoProduct(node: Node, graph: Graph): string | undefined {
  if (isMatrixProduct(node)) return whyNoMatrixProduct(node, graph);
  if (node.op !== "Conv") return "only convolutions and matrix products are multiplied in integers";
  const rank = rankOf(node, graph);
  if (rank !== 4) return `it has ${rank - 2} spatial axes, not 2`;
  return whyTooMany(sizeOf(fixed(graph.values.get(node.inputs[1])?.shape ?? []).slice(1)));
}

/** float32 holds whole numbers up to this. */
const maxInFloat32 = 2 ** 24;

/** The largest magnitude of a weight's codes. */
const largestWeight = (w: Node, graph: Graph, { integers }: Numerics): number =>
  w.op === "FakeQuantize"
    ? Math.max(...(boundsOf(w, graph) ?? [128]).map(Math.abs))
    : largestOf(w.inputs[0], graph, integers);

/** oneDNN has all matrix products, and most shapes of convolutions. */
function whyNoImplementation(
  node: Node,
  graph: Graph,
  weight: Node | undefined,
  numerics: Numerics,
): string | undefined {
  if (node.op !== "Conv" || !weight) return undefined;
  const [x, w, y] = [node.inputs[0], node.inputs[1], node.outputs[0]].map((name) =>
    fixed(graph.values.get(name)?.shape ?? []),
  );
  const geometry = geometryOf(node, convolutionWindow(node, x, w), x, y);
  if (!isFast(numerics, "convolution:integer", geometry))
    return "oneDNN has only plain loops for its shape in integers on this processor";
  const largestSum = 255 * largestWeight(weight, graph, numerics) * sizeOf(w.slice(1));
  return largestSum > maxInFloat32 && roundsSums(numerics, geometry)
    ? `oneDNN rounds sums of up to ${largestSum} to float32 on this processor`
    : undefined;
}

/** Why a node does not multiply the codes of its first two inputs; `undefined` where it does. */
export function whyNotIntegers(node: Node, graph: Graph, { producers }: Uses, numerics: Numerics): string | undefined {
  const outputs = weightAxesOf(node, graph.values.get(node.inputs[1])?.shape ?? [])?.rows ?? 0;
  const [x, w] = node.inputs.map((name) => producers.get(name));
  return (
    whyNoProduct(node, graph) ??
    whyNoCodes(x, graph) ??
    whyNoWeightCodes(w, outputs, graph, numerics) ??
    whyNoImplementation(node, graph, w, numerics)
  );
}

/** Whether a node multiplies the codes of its first two inputs. */
export const multipliesIntegers = (node: Node, graph: Graph, uses: Uses, numerics: Numerics): boolean =>
  whyNotIntegers(node, graph, uses, numerics) === undefined;

/** Whether two values are the same, or one is the other computed again. */
function isAlike(a: string, b: string, uses: Uses): boolean {
  if (a === b) return true;
  const [one, other] = [a, b].map((value) => uses.producers.get(value));
  return (
    one?.op === other?.op &&
    one?.attributes === other?.attributes &&
    one?.outputs.indexOf(a) === other?.outputs.indexOf(b) &&
    one?.inputs.length === other?.inputs.length &&
    one?.inputs.every((input, i) => isAlike(input, other?.inputs[i] ?? "", uses)) === true
  );
}

/** The product of the forward pass that multiplies the codes of these weights, which gradients may have computed again; `late` nodes are none of it. */
export const integerProductOf = (
  weights: string,
  graph: Graph,
  uses: Uses,
  numerics: Numerics,
  late: ReadonlySet<Node>,
): Node | undefined =>
  graph.nodes.find(
    (node) =>
      (node.op === "Conv" || isMatrixProduct(node)) &&
      !late.has(node) &&
      isAlike(node.inputs[1], weights, uses) &&
      multipliesIntegers(node, graph, uses, numerics),
  );
