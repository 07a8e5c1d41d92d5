// Weights as packed integers that floats are multiplied by.

import { exportMatMulNBits, matMulNBits } from "../export/matmul-nbits.ts";
import type { Exported } from "../export/qdq.ts";
import { assert } from "../ir/errors.ts";
import type { Graph, OnnxModel } from "../ir/graph.ts";
import { numbersOf, sizeOf, tensorOf } from "../ir/tensor.ts";
import { transposedMatrix } from "../ir/transposed-matrix.ts";
import { withFloatWeights } from "../onnx/float-weights.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { isMatrixProduct } from "../ops/linear.ts";
import { isTransposed } from "../ops/matrix-shape.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { foldQuantizers } from "../quantizers/fold.ts";
import { type LinearLayer, linearLayers } from "../quantizers/linear-layers.ts";
import { isQuantizer } from "../quantizers/quantizer.ts";
import { type Emitter, emitInto, suffixOf } from "./emit.ts";
import { foldWeights } from "./fold-weights.ts";

/** Weights of fewer elements are not worth the nodes. */
const leastElements = 256;

const isLarge = ({ values }: Graph, { weight }: LinearLayer): boolean =>
  sizeOf(values.get(weight)?.shape.map(Number) ?? []) >= leastElements;

export interface PackedWidth {
  readonly bits: 2 | 4 | 8;
  /** Inputs that share a scale. */
  readonly blockSize: number;
}

/** The form that packed weights start from: filters in 8 bits, other layers as products. Takes a prepared graph. */
export const asProducts = (graph: Graph): Graph => gemmsAsProducts(byteFilters(graph));

/** Whether a layer of such a graph has its weight packed. */
export const isPackable = (graph: Graph, layer: LinearLayer): boolean =>
  isMatrixProduct(layer.node) && isLarge(graph, layer);

/** Matrices in blocks of their inputs, which MatMulNBits multiplies by. Takes a graph of products; where it has quantizers, it has them all. */
export function packedWeights({ graph, origin }: OnnxModel, { bits, blockSize }: PackedWidth): Exported {
  const folded = graph.nodes.some(isQuantizer)
    ? foldQuantizers(graph, "float")
    : foldWeights(graph, { weights: bits, groupSize: blockSize as 32 }, (layer) => isPackable(graph, layer));
  const exported = exportMatMulNBits(folded, origin, "int8");
  return bits === 8 ? withByteProducts(exported) : exported;
}

/**
 * Products of 8-bit weights round what they multiply to 8 bits in blocks, as ONNX Runtime's kernel for them may: it takes a third of the
 * time of products of floats, which are slower than the float model's, and loses little beside the weights' own rounding.
 */
function withByteProducts({ model, opset }: Exported): Exported {
  const nodes = model.graph.nodes.map((node) =>
    node.op === matMulNBits ? { ...node, attributes: { ...node.attributes, accuracy_level: 4 } } : node,
  );
  return { model: { ...model, graph: { ...model.graph, nodes } }, opset };
}

/** Filters as integers with a scale for each channel. Runtimes make floats of them once, when they open the file. */
function byteFilters(graph: Graph): Graph {
  const isFilter = (layer: LinearLayer): boolean => !isMatrixProduct(layer.node) && isLarge(graph, layer);
  const folded = foldWeights(graph, { asymmetricWeights: false }, isFilter);
  if (folded.layers.length === 0) return graph;
  const integers = new Set(folded.layers.map((layer) => layer.integers));
  return withFloatWeights(folded.graph, integers, () => false);
}

/** Gemms with a constant weight as products and additions: MatMulNBits knows no factors and no transposed weights. */
function gemmsAsProducts(graph: Graph): Graph {
  const layers = new Map(linearLayers(graph).map((layer) => [layer.node.name, layer]));
  if (![...layers.values()].some(({ node }) => node.op === "Gemm")) return graph;
  const emit = emitInto(graph);
  for (const node of graph.nodes) {
    const layer = layers.get(node.name);
    if (node.op === "Gemm" && layer) asProduct(emit, graph, layer);
    else emit.push(node);
  }
  return inferTypes(emit.graph());
}

function asProduct(emit: Emitter, { constants }: Graph, layer: LinearLayer): void {
  const { node, weight, bias, biasFactor } = layer;
  const [output] = node.outputs;
  const alpha = numberAttribute(node, "alpha", 1);
  const given = constants.get(weight);
  assert(given, `weight "${weight}" is not a constant`);
  const matrix = isTransposed(node, "transB") ? transposedMatrix(given) : given;
  const factored = (value: typeof given, factor: number) =>
    tensorOf(
      value.dtype,
      value.shape,
      Float64Array.from(numbersOf(value), (each) => each * factor),
    );
  const name =
    matrix === given && alpha === 1
      ? weight
      : emit.constant(`${weight}:matrix${suffixOf(alpha)}`, alpha === 1 ? matrix : factored(matrix, alpha));
  const offset = bias === "" ? undefined : constants.get(bias);
  const product = offset ? emit.value(`${output}:product`, "float32") : output;
  emit.push({ name: node.name, op: "MatMul", inputs: [node.inputs[0], name], outputs: [product], attributes: {} });
  if (!offset) return;
  const added =
    biasFactor === 1 ? bias : emit.constant(`${bias}:scaled${suffixOf(biasFactor)}`, factored(offset, biasFactor));
  emit.call("Add", [product, added], { output });
}
