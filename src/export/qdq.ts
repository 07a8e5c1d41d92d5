// ONNX QDQ: activations through QuantizeLinear and DequantizeLinear, weights as integers behind DequantizeLinear, or as indices of tables.
import { assert } from "../ir/errors.ts";
import { consumers, type Graph, type Node, type OnnxModel, type Origin } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { withFileBits } from "../ir/tensor-source.ts";
import { type NewNames, newNamesIn } from "../ir/unique-names.ts";
import { withCenteredIntegers } from "../onnx/centered-integers.ts";
import { withFloatWeights } from "../onnx/float-weights.ts";
import { opsetFor } from "../onnx/write.ts";
import { dropDefaults } from "../passes/drop-defaults.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import type { Folded, FoldedLayer } from "../quantizers/fold.ts";
import { computesWithIntegers } from "../quantizers/integer-kernels.ts";
import { boundsOfActivations, isQuantizer, type Quantizer, quantizerOf } from "../quantizers/quantizer.ts";
import { withProductsAsScales } from "./bias-scales.ts";
import { keepLevels, pathToQuantizer } from "./keep-levels.ts";

/**
 * packed: weights at their width, in bytes that the runtime unpacks when it opens the file (`onnx/packed-integers.ts`). int4: those of
 * 4 bits and fewer in ONNX's type of 4 bits, for readers that know it. int8: all in 8 bits. Activations, which no file stores, are
 * carried in 8 bits always: ONNX Runtime has no kernels for 4-bit ones, and its optimizer fails on them beside Clip and MaxPool.
 */
export type Storage = "packed" | "int4" | "int8";

export interface Exported {
  readonly model: OnnxModel;
  /** The opset to write: the model's own, 13 for per-channel scales, 21 for 4-bit weights and scales of groups, and what its operators need, whichever is newest. */
  readonly opset: number;
}

const inHalfBytes = (value: Tensor): Tensor => ({ ...value, dtype: value.dtype.startsWith("u") ? "uint4" : "int4" });

export function exportQdq(given: Folded, origin: Origin, storage: Storage): Exported {
  const folded = { ...given, graph: keepLevels(given.graph) };
  const constants = new Map(folded.graph.constants);
  const store = (name: string, as: (value: Tensor) => Tensor): void => {
    const value = constants.get(name);
    assert(value, `integers "${name}" are not constant`);
    constants.set(name, as(value));
  };
  for (const { integers, zeroPoint, bits } of folded.layers)
    if (storage === "packed") store(integers, (value) => withFileBits(value, bits));
    else if (storage === "int4" && bits <= 4)
      for (const name of zeroPoint === "" ? [integers] : [integers, zeroPoint]) store(name, inHalfBytes);
  const stored = { ...folded.graph, constants };
  const integers = new Set(folded.layers.map((layer) => layer.integers));
  const source =
    storage === "int4"
      ? stored
      : withCenteredIntegers(withFloatWeights(stored, integers, integerLayers(stored, folded.biases)), integers);
  const written = new Map(source.constants);
  const names = newNamesIn(source, written);
  const ofGemms = folded.biases === "int32" ? bytesOfGemms(source, folded.layers) : new Set<string>();
  const nodes = source.nodes.flatMap((node) => {
    if (ofGemms.has(node.outputs[0]) && node.inputs.length === 2) return [withZeroPoints(node, written, names)];
    if (isQuantizer(node)) return quantizeNodes(quantizerOf(node), written, names);
    return isBytesInBlocks(node, written) ? withReshape(source, node, names) : [node];
  });
  const all = removeDeadNodes(inferTypes({ ...source, nodes, constants: written }));
  const graph = dropDefaults(storage === "packed" ? withProductsAsScales(all) : all);
  const isBlocked = graph.nodes.some(({ op, attributes }) => op === "DequantizeLinear" && "block_size" in attributes);
  return {
    model: { graph, origin },
    opset: opsetFor(graph, Math.max(origin.opset, 13, isBlocked ? 21 : 0)),
  };
}

/**
 * Beside biases as floats, other runtimes than ONNX Runtime decide what computes with integers: everything that reads them. Where
 * a transposed convolution writes integers too, ONNX Runtime computes with floats, but with weights that it quantizes itself, if
 * it is given floats.
 */
function integerLayers(graph: Graph, biases: Folded["biases"]): (layer: Node) => boolean {
  const quantized = new Set(graph.nodes.filter(isQuantizer).flatMap(({ outputs }) => outputs));
  const readers = consumers(graph);
  return (layer) =>
    quantized.has(layer.inputs[0]) &&
    (biases === "float" ||
      computesWithIntegers(graph, readers, layer) ||
      pathToQuantizer(graph, readers, layer) !== undefined);
}

/** What DequantizeLinear gives layers that are Gemms, from int8 with a scale per row. */
function bytesOfGemms(graph: Graph, layers: readonly FoldedLayer[]): ReadonlySet<string> {
  const isLayer = new Set(layers.map(({ node }) => node));
  const weights = new Set(
    graph.nodes.flatMap(({ op, name, inputs }) => (op === "Gemm" && isLayer.has(name) ? [inputs[1]] : [])),
  );
  const isByte = ({ op, inputs, attributes }: Node): boolean =>
    op === "DequantizeLinear" &&
    (graph.constants.get(inputs[0]) ?? graph.values.get(inputs[0]))?.dtype === "int8" &&
    !("block_size" in attributes);
  return new Set(
    graph.nodes.filter((node) => weights.has(node.outputs[0]) && isByte(node)).map(({ outputs }) => outputs[0]),
  );
}

/** ONNX Runtime 1.30 makes an integer kernel of a Gemm only where its weight names its zero points, though they are 0. */
function withZeroPoints(node: Node, constants: ReadonlyMap<string, Tensor>, { constant }: NewNames): Node {
  const { shape = [] } = constants.get(node.inputs[1]) ?? {};
  const zeros = new Array<number>(sizeOf(shape)).fill(0);
  const zeroPoint = constant(["int8", 0, ...shape].join(":"), tensorOf("int8", shape, zeros));
  return { ...node, inputs: [...node.inputs, zeroPoint] };
}

const isBytesInBlocks = ({ op, inputs, attributes }: Node, constants: ReadonlyMap<string, Tensor>): boolean =>
  op === "DequantizeLinear" && "block_size" in attributes && /^u?int8$/.test(constants.get(inputs[0])?.dtype ?? "");

/**
 * ONNX Runtime 1.30 makes an integer kernel of a MatMul or Conv between quantizers, and then fails on scales in blocks: a Reshape
 * that changes nothing keeps it from it.
 */
function withReshape(graph: Graph, node: Node, { unique, constant }: NewNames): Node[] {
  const [output] = node.outputs;
  const shape = graph.values.get(output)?.shape.map(Number) ?? [];
  const flat = unique(`${output}:blocks`);
  const inputs = [flat, constant(`shape:${shape.join("x")}`, tensorOf("int64", [shape.length], shape))];
  return [
    { ...node, outputs: [flat] },
    { name: unique(`${node.name}:Reshape`), op: "Reshape", inputs, outputs: [output], attributes: {} },
  ];
}

/** QuantizeLinear, a Clip where the bits do not fill the type, DequantizeLinear; the output keeps its name. */
function quantizeNodes(
  quantizer: Quantizer,
  constants: ReadonlyMap<string, Tensor>,
  { unique, constant }: NewNames,
): Node[] {
  const { bits, scale, value, output } = quantizer;
  const symmetric = quantizer.zeroPoint === "";
  const bounds = boundsOfActivations(bits, symmetric);
  const type = symmetric ? "int8" : "uint8";
  const integer = (value: number): string => constant(`${type}:${value}`, tensorOf(type, [], [value]));
  const zeroPoint = integer(symmetric ? 0 : roundedZeroPoint(quantizer, constants));
  const integers = unique(`${output}:q`);
  const node = (op: string, inputs: readonly string[], to: string): Node => ({
    name: to === output ? quantizer.node.name : to,
    op,
    inputs,
    outputs: [to],
    attributes: {},
  });
  const isNarrow = bits < 8;
  const quantized = isNarrow ? unique(`${output}:w`) : integers;
  const result = [node("QuantizeLinear", [value, scale, zeroPoint], quantized)];
  if (isNarrow) {
    const ends = [bounds.low, bounds.high].map(integer);
    result.push(node("Clip", [quantized, ...ends], integers));
  }
  return [...result, node("DequantizeLinear", [integers, scale, zeroPoint], output)];
}

function roundedZeroPoint({ bits, zeroPoint }: Quantizer, constants: ReadonlyMap<string, Tensor>): number {
  const trained = constants.get(zeroPoint);
  assert(trained, `zero point "${zeroPoint}" is not a constant`);
  return Math.min(boundsOfActivations(bits, false).high, Math.max(0, roundHalfToEven(numbersOf(trained)[0])));
}
