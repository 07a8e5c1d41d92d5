// ONNX Runtime's MatMulNBits: a product of floats and of a matrix of packed integers, which share scales in groups of inputs.
import { packedBytes } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import type { Graph, Node, Origin } from "../ir/graph.ts";
import { pack } from "../ir/packing.ts";
import { numbersOf, type Tensor, tensor } from "../ir/tensor.ts";
import { transposedMatrix } from "../ir/transposed-matrix.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";
import { opsetFor } from "../onnx/write.ts";
import { granularityOf, isGrouped } from "../ops/granularity.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import type { Folded, FoldedLayer } from "../quantizers/fold.ts";
import { isQuantizer } from "../quantizers/quantizer.ts";
import { type Exported, exportQdq, type Storage } from "./qdq.ts";

export const matMulNBits = "com.microsoft::MatMulNBits";

/** As `exportQdq`, but for layers that MatMulNBits computes. */
export function exportMatMulNBits(folded: Folded, origin: Origin, storage: Storage): Exported {
  const { model, opset } = exportQdq(folded, origin, storage);
  const found = folded.layers.flatMap((layer) => placeOf(folded.graph, layer) ?? []);
  if (found.length === 0) return { model, opset };
  const constants = new Map(model.graph.constants);
  const unique = uniqueNamesIn(model.graph);
  const packed = new Map<string, readonly string[]>();
  const add = (hint: string, value: Tensor): string => {
    const name = unique(hint);
    constants.set(name, value);
    return name;
  };
  const replaced = new Map(
    found.map((place) => {
      const { dequantize, product } = place;
      const weight = packed.get(dequantize.name) ?? packWeight(folded.graph, place, add);
      packed.set(dequantize.name, weight);
      return [product.name, nodeOf(folded.graph, place, weight)];
    }),
  );
  const nodes = model.graph.nodes.map((node) => replaced.get(node.name) ?? node);
  const types = [...constants].map(([name, { dtype, shape }]) => [name, { dtype, shape }] as const);
  const values = new Map([...model.graph.values, ...types]);
  const graph = removeDeadNodes({ ...model.graph, nodes, constants, values });
  const isBlocked = graph.nodes.some(({ op, attributes }) => op === "DequantizeLinear" && "block_size" in attributes);
  return { model: { ...model, graph }, opset: isBlocked ? opset : opsetFor(graph, Math.max(origin.opset, 13)) };
}

/** Of the weights that MatMulNBits has, what the file holds of each: its integer, and its part of scales, zero points and filling. */
export function bitsPerWeight({ graph, layers }: Folded, scaleBits: 16 | 32): number | undefined {
  const weights = new Map(
    layers.flatMap((layer) => placeOf(graph, layer) ?? []).map((place) => [place.layer.integers, place]),
  );
  let [count, bytes] = [0, 0];
  for (const { layer, dequantize, groupSize } of weights.values()) {
    const [inputs, rows] = constantOf(graph, dequantize.inputs[0]).shape;
    const type = `uint${storedBits(layer.bits)}` as const;
    const groups = Math.ceil(inputs / groupSize);
    const points = dequantize.inputs[2] ? packedBytes(type, groups) : 0;
    count += inputs * rows;
    bytes += rows * (packedBytes(type, groups * groupSize) + points + (groups * scaleBits) / 8);
  }
  return count === 0 ? undefined : (8 * bytes) / count;
}

/** A layer, its product, and what makes its weight of integers. */
interface Place {
  readonly layer: FoldedLayer;
  readonly product: Node;
  readonly dequantize: Node;
  /** Inputs that share a scale. */
  readonly groupSize: number;
}

/** Where a product of floats has a matrix in groups of inputs. */
function placeOf(graph: Graph, layer: FoldedLayer): Place | undefined {
  const product = graph.nodes.find(({ name }) => name === layer.node);
  const maker = (value: string | undefined): Node | undefined =>
    graph.nodes.find(({ outputs }) => value !== undefined && outputs.includes(value));
  const dequantize = maker(product?.inputs[1]);
  if (product?.op !== "MatMul" || dequantize?.op !== "DequantizeLinear") return undefined;
  const groupSize = groupSizeOf(graph, dequantize);
  const readsFloats = !isQuantizer(maker(product.inputs[0]));
  return groupSize !== undefined && readsFloats ? { layer, product, dequantize, groupSize } : undefined;
}

/** What its kernels take. */
const groupSizes = [16, 32, 64, 128, 256];

/** A row of so few inputs that it is one group has the smallest that holds it. */
function groupSizeOf(graph: Graph, dequantize: Node): number | undefined {
  const granularity = granularityOf(dequantize);
  if (granularity === "tensor") return undefined;
  if (isGrouped(granularity)) return granularity.axis === 0 ? granularity.groupSize : undefined;
  const [inputs] = constantOf(graph, dequantize.inputs[0]).shape;
  return granularity.axis === 1 ? groupSizes.find((size) => inputs <= size) : undefined;
}

/** The widths that its kernels have. */
const storedBits = (bits: number): 2 | 4 | 8 => (bits <= 2 ? 2 : bits <= 4 ? 4 : 8);

function constantOf(graph: Graph, name: string): Tensor {
  const value = graph.constants.get(name);
  assert(value, `"${name}" is not a constant`);
  return value;
}

function nodeOf(graph: Graph, { layer, product, dequantize, groupSize }: Place, weight: readonly string[]): Node {
  const [K, N] = constantOf(graph, dequantize.inputs[0]).shape;
  return {
    ...product,
    op: matMulNBits,
    inputs: [product.inputs[0], ...weight],
    attributes: { K, N, bits: storedBits(layer.bits), block_size: groupSize },
  };
}

/** The names of the packed integers [N, groups, bytes], of the scales [N, groups] and, where there are any, of the packed zero points. */
function packWeight(
  graph: Graph,
  { layer, dequantize, groupSize }: Place,
  add: (hint: string, value: Tensor) => string,
): readonly string[] {
  const [integers, ...qparams] = dequantize.inputs.map((name) => constantOf(graph, name));
  const [inputs, rows] = integers.shape;
  const groups = Math.ceil(inputs / groupSize);
  const [scale, zeroPoint] = qparams.map((value) => ({ ...value, shape: [groups, rows] }));
  const bits = storedBits(layer.bits);
  // Without zero points, the middle of what the bits hold stands for 0.
  const offset = zeroPoint ? 0 : 2 ** (bits - 1);
  const codes = packed(integers, { bits, offset, length: groups * groupSize });
  const names = [
    add(`${layer.name}.weight_packed`, tensor("uint8", [rows, groups, (groupSize * bits) / 8], codes)),
    add(`${layer.name}.weight_scales`, transposedMatrix(scale)),
  ];
  if (!zeroPoint) return names;
  const points = packed(zeroPoint, { bits, offset, length: groups });
  return [...names, add(`${layer.name}.weight_zero_points`, tensor("uint8", [rows, points.length / rows], points))];
}

/** Of a matrix [inputs, rows], each row of `length` integers in whole bytes; zeros beyond its end. */
function packed(
  matrix: Tensor,
  { bits, offset, length }: { readonly bits: 2 | 4 | 8; readonly offset: number; readonly length: number },
): Uint8Array {
  const [inputs, rows] = matrix.shape;
  const values = numbersOf(transposedMatrix(matrix));
  const type = `uint${bits}` as const;
  const stride = packedBytes(type, length);
  const bytes = new Uint8Array(rows * stride);
  const own = new Uint8Array(inputs);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < inputs; i++) own[i] = values[row * inputs + i] + offset;
    bytes.set(pack(type, own), row * stride);
  }
  return bytes;
}
