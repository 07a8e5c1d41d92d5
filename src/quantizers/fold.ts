// Makes integers of the trained weights: batch normalization folds into their scales and signs, biases as they are exported.
import { assert } from "../ir/errors.ts";
import { consumers, type Graph, type Node } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { sortNodes } from "../ir/sort-nodes.ts";
import { allocate, numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { uniqueNames } from "../ir/unique-names.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { dropRepeatedClips } from "./drop-clips.ts";
import { type LinearLayer, linearLayers, onlyReader } from "./linear-layers.ts";
import { forEachInRows } from "./qparams.ts";
import { type Quantizer, quantizersOf } from "./quantizer.ts";

/** float: a separate addition, exact. int32: inside the layer at scale input·weight, as integer kernels want. */
export type BiasForm = "float" | "int32";

export interface FoldedLayer {
  readonly name: string;
  readonly bits: number;
  /** The constant that holds the integers, as int8. */
  readonly integers: string;
  /** The layer's node in the folded graph. */
  readonly node: string;
  /** What the layer gives, bias and normalization included. */
  readonly output: string;
}

export interface Folded {
  readonly graph: Graph;
  readonly layers: readonly FoldedLayer[];
}

/** Per-channel factor and offset: y = factor · (W x) + offset. */
interface Affine {
  readonly factor: readonly number[];
  readonly offset: readonly number[];
  /** The value that the layer, its bias and its normalization give together. */
  readonly output: string;
  /** Nodes that the folded layer replaces. */
  readonly replaced: readonly Node[];
  readonly hasBias: boolean;
}

export function foldQuantizers(graph: Graph, biases: BiasForm): Folded {
  const readers = consumers(graph);
  const weightQuantizers = new Map(quantizersOf(graph).map((quantizer) => [quantizer.output, quantizer]));
  const constants = new Map(graph.constants);
  const replacement = new Map<string, readonly Node[]>();
  const layers: FoldedLayer[] = [];
  const unique = uniqueNames([...graph.values.keys(), ...graph.nodes.map(({ name }) => name)]);
  const made: StoredWeight[] = [];
  for (const layer of linearLayers(graph)) {
    const quantizer = weightQuantizers.get(layer.node.inputs[1]);
    if (!quantizer) continue;
    const input = weightQuantizers.get(layer.node.inputs[0]);
    const affine = affineOf(graph, readers, layer);
    const folded = foldLayer(graph, layer, quantizer, affine, biases, input, { constants, unique, made });
    const { name, node } = layer;
    layers.push({ name, bits: quantizer.bits, integers: folded.integers, node: node.name, output: affine.output });
    for (const node of folded.affine.replaced) replacement.set(node.name, []);
    replacement.set(folded.affine.replaced[folded.affine.replaced.length - 1].name, folded.nodes);
  }
  const replaced = { ...graph, constants, nodes: graph.nodes.flatMap((node) => replacement.get(node.name) ?? [node]) };
  // A layer stands where its normalization stood, which may be behind another that reads the same weight.
  const sorted = removeDeadNodes(inferTypes({ ...replaced, nodes: sortNodes(replaced) }));
  return { graph: dropRepeatedClips(sorted), layers };
}

const numbersOfConstant = (graph: Graph, name: string): readonly number[] => {
  const value = graph.constants.get(name);
  assert(value, `"${name}" is no constant`);
  return Array.from(numbersOf(value));
};

/** The axis of a layer's output that its rows give: normalization, which is along axis 1, folds where that is this one. */
function rowAxisOfOutput(graph: Graph, { node }: LinearLayer): number {
  return node.op.startsWith("Conv") ? 1 : (graph.values.get(node.outputs[0])?.shape.length ?? 2) - 1;
}

/** What follows the product: the layer's own bias and the normalization that alone reads it. */
function affineOf(graph: Graph, readers: ReadonlyMap<string, readonly Node[]>, layer: LinearLayer): Affine {
  const rows = Number(graph.values.get(layer.weight)?.shape[layer.rowAxis]);
  const bias = biasOf(graph, layer, rows);
  const next = onlyReader(graph, readers, layer.node.outputs[0]);
  const isNext = next?.op === "BatchNormalization" && next.inputs[0] === layer.node.outputs[0];
  const isFolded = isNext && next.inputs.slice(1, 5).every((name) => graph.constants.has(name));
  if (!isFolded || rowAxisOfOutput(graph, layer) !== 1)
    return {
      factor: new Array<number>(rows).fill(1),
      offset: bias ?? [],
      output: layer.node.outputs[0],
      replaced: [layer.node],
      hasBias: bias !== undefined,
    };
  const [gamma, beta, mean, variance] = next.inputs.slice(1, 5).map((name) => numbersOfConstant(graph, name));
  const epsilon = numberAttribute(next, "epsilon", 1e-5);
  const factor = gamma.map((value, c) => value / Math.sqrt(variance[c] + epsilon));
  const offset = beta.map((value, c) => value + ((bias?.[c] ?? 0) - mean[c]) * factor[c]);
  return { factor, offset, output: next.outputs[0], replaced: [layer.node, next], hasBias: true };
}

/** A Gemm's bias may be one number for all rows, and is multiplied by beta. */
function biasOf(graph: Graph, layer: LinearLayer, rows: number): readonly number[] | undefined {
  if (layer.bias === "" || layer.node.op === "MatMul") return undefined;
  const values = numbersOfConstant(graph, layer.bias);
  const beta = layer.node.op === "Gemm" ? numberAttribute(layer.node, "beta", 1) : 1;
  return Array.from({ length: rows }, (_, row) => (values.length === 1 ? values[0] : values[row]) * beta);
}

interface Integers {
  readonly values: Int8Array;
  readonly scales: number[];
}

/** The integers that the fake quantizer gives, with the factor in their scales and its sign in theirs; −low may not be one. */
function integersOf(graph: Graph, layer: LinearLayer, quantizer: Quantizer, factor: readonly number[]): Integers {
  const weight = graph.constants.get(layer.weight);
  assert(weight, `weight "${layer.weight}" is no constant`);
  const [low, high] = quantizer.node.inputs.slice(3).map((bound) => numbersOfConstant(graph, bound)[0]);
  const scales = numbersOfConstant(graph, quantizer.scale);
  const divide =
    weight.dtype === "float32" ? (w: number, s: number) => Math.fround(w / s) : (w: number, s: number) => w / s;
  const values = allocate("int8", weight.data.length) as Int8Array;
  forEachInRows(weight, layer.rowAxis, (row, w, i) => {
    const q = Math.min(high, Math.max(low, roundHalfToEven(divide(w, scales[row]))));
    values[i] = Math.min(high, q * Math.sign(factor[row]));
  });
  return { values, scales: scales.map((scale, row) => (factor[row] === 0 ? 1 : scale * Math.abs(factor[row]))) };
}

/** A weight's integers and scales behind DequantizeLinear. */
interface StoredWeight extends Integers {
  readonly weight: string;
  /** The constant that holds the integers. */
  readonly integers: string;
  /** The value that DequantizeLinear gives. */
  readonly output: string;
}

interface Additions {
  readonly constants: Map<string, Tensor>;
  readonly unique: (name: string) => string;
  readonly made: StoredWeight[];
}

/** The weight in the file, and the node that brings it there: none where another layer has the same weight in the same form. */
function storeWeight(
  layer: LinearLayer,
  weight: Tensor,
  { values, scales }: Integers,
  { constants, unique, made }: Additions,
): { readonly stored: StoredWeight; readonly nodes: readonly Node[] } {
  const known = made.find(
    (other) =>
      other.weight === layer.weight &&
      other.scales.every((scale, row) => scale === scales[row]) &&
      other.values.every((value, i) => value === values[i]),
  );
  if (known) return { stored: known, nodes: [] };
  const nameOf = (suffix: string): string => unique(`${layer.name}.weight_${suffix}`);
  const [integers, scale] = [nameOf("integers"), nameOf("folded_scale")];
  constants.set(integers, { dtype: "int8", shape: weight.shape, data: values });
  constants.set(scale, tensorOf(weight.dtype, [scales.length], scales));
  const node: Node = {
    name: nameOf("dequantize"),
    op: "DequantizeLinear",
    inputs: [integers, scale],
    outputs: [nameOf("dequantized")],
    attributes: { axis: layer.rowAxis },
  };
  const stored = { weight: layer.weight, integers, output: node.outputs[0], values, scales };
  made.push(stored);
  return { stored, nodes: [node] };
}

interface FoldedNodes {
  readonly nodes: readonly Node[];
  readonly integers: string;
  readonly affine: Affine;
}

function foldLayer(
  graph: Graph,
  layer: LinearLayer,
  quantizer: Quantizer,
  affine: Affine,
  biases: BiasForm,
  input: Quantizer | undefined,
  additions: Additions,
): FoldedNodes {
  const { constants, unique } = additions;
  const weight = graph.constants.get(layer.weight);
  assert(weight, `weight "${layer.weight}" is no constant`);
  const integers = integersOf(graph, layer, quantizer, affine.factor);
  const inputScale =
    biases === "int32" && affine.hasBias && layer.node.op !== "MatMul" && input
      ? numbersOfConstant(graph, input.scale)[0]
      : undefined;
  if (inputScale !== undefined) suitScales(integers, weight, layer.rowAxis, affine.offset, inputScale);
  const nameOf = (suffix: string): string => unique(`${layer.name}.${suffix}`);
  const { stored, nodes } = storeWeight(layer, weight, integers, additions);
  const product = [layer.node.inputs[0], stored.output];
  const { beta: _, ...attributes } = layer.node.attributes;
  const linear = (inputs: readonly string[], output: string): Node => ({
    ...layer.node,
    attributes,
    inputs,
    outputs: [output],
  });
  const folded = { integers: stored.integers, affine };
  if (!affine.hasBias) return { ...folded, nodes: [...nodes, linear(product, affine.output)] };
  if (inputScale === undefined) {
    const rank = graph.values.get(layer.node.outputs[0])?.shape.length ?? 2;
    const rowAxis = rowAxisOfOutput(graph, layer);
    const shape = Array.from({ length: rank }, (__, axis) => (axis === rowAxis ? affine.offset.length : 1));
    const [bias, sum] = [nameOf("bias_folded"), nameOf("product")];
    constants.set(bias, tensorOf(weight.dtype, shape, affine.offset));
    const add: Node = {
      name: nameOf("bias_add"),
      op: "Add",
      inputs: [sum, bias],
      outputs: [affine.output],
      attributes: {},
    };
    return { ...folded, nodes: [...nodes, linear(product, sum), add] };
  }
  const biasNode = integerBias(nameOf, weight, integers.scales, affine.offset, inputScale, constants);
  return { ...folded, nodes: [...nodes, biasNode, linear([...product, biasNode.outputs[0]], affine.output)] };
}

/** Biases are kept below it. */
const largestBias = 2 ** 30;

/**
 * Suits the weight scales to biases at scale input·weight: a bias that overflows int32 makes the scale of its row coarser; a row
 * of zeros, which any scale fits, takes the one at which its bias is exact.
 */
function suitScales(
  integers: Integers,
  weight: Tensor,
  axis: number,
  offset: readonly number[],
  inputScale: number,
): void {
  const isZero = integers.scales.map(() => true);
  const tensor: Tensor = { ...weight, dtype: "int8", data: integers.values };
  forEachInRows(tensor, axis, (row, q) => {
    if (q !== 0) isZero[row] = false;
  });
  integers.scales.forEach((_, row) => {
    if (isZero[row] && offset[row] !== 0) integers.scales[row] = Math.abs(offset[row]) / (inputScale * largestBias);
  });
  const factors = integers.scales.map((scale, row) =>
    Math.max(1, Math.abs(offset[row]) / (inputScale * scale * largestBias)),
  );
  if (factors.every((factor) => factor === 1)) return;
  forEachInRows(tensor, axis, (row, q, i) => {
    integers.values[i] = roundHalfToEven(q / factors[row]);
  });
  factors.forEach((factor, row) => {
    integers.scales[row] *= factor;
  });
}

function integerBias(
  nameOf: (suffix: string) => string,
  weight: Tensor,
  weightScales: readonly number[],
  offset: readonly number[],
  inputScale: number,
  constants: Map<string, Tensor>,
): Node {
  const scales = numbersOf(
    tensorOf(
      weight.dtype,
      [weightScales.length],
      weightScales.map((scale) => scale * inputScale),
    ),
  );
  const [integers, scale] = [nameOf("bias_integers"), nameOf("bias_scale")];
  constants.set(
    integers,
    tensorOf(
      "int32",
      [offset.length],
      offset.map((value, row) => roundHalfToEven(value / scales[row])),
    ),
  );
  constants.set(scale, tensorOf(weight.dtype, [offset.length], scales));
  return {
    name: nameOf("bias_dequantize"),
    op: "DequantizeLinear",
    inputs: [integers, scale],
    outputs: [nameOf("bias_dequantized")],
    attributes: { axis: 0 },
  };
}
