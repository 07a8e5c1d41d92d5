// Weights of layers that compute with floats: nodes make floats of the stored integers, which the runtime computes once, when it opens
// the file. It would compute a DequantizeLinear at every run, and has its fastest kernels for constant weights alone.
import { assert } from "../ir/errors.ts";
import { consumers, type Graph, type Node, producers } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { newNamesIn, uniqueNamesIn } from "../ir/unique-names.ts";
import { numberAttribute, stringAttribute } from "../ops/attributes.ts";
import { weightAxesOf } from "../ops/linear.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";

const isByte = ({ dtype }: Tensor): boolean => dtype === "int8" || dtype === "uint8";

/** The graph in which floats are made of these constants by name, where nothing but layers that compute with floats reads them. */
export function withFloatWeights(
  graph: Graph,
  integers: ReadonlySet<string>,
  computesWithIntegers: (layer: Node) => boolean,
): Graph {
  const constants = new Map(graph.constants);
  const readers = consumers(graph);
  const { unique, constant } = newNamesIn(graph, constants);
  const nodes = graph.nodes.flatMap((node): readonly Node[] => {
    const [name, scaleName, zeroName = ""] = node.inputs;
    const [weight, scale, zeroPoint] = [name, scaleName, zeroName].map((each) => constants.get(each));
    const isWeight =
      node.op === "DequantizeLinear" && integers.has(name) && numberAttribute(node, "block_size", 0) === 0;
    if (!isWeight || !weight || !scale || !isByte(weight)) return [node];
    const reading = readers.get(node.outputs[0]) ?? [];
    if (!reading.every((reader) => isLayer(graph, reader, node.outputs[0]) && !computesWithIntegers(reader)))
      return [node];
    const { dtype } = scale;
    const added: Node[] = [];
    const add = (op: string, inputs: readonly string[], attributes: Node["attributes"] = {}): string => {
      const output = unique("u");
      added.push({ name: output, op, inputs, outputs: [output], attributes });
      return output;
    };
    const beside = (hint: string, value: Tensor): string => {
      const placed = { ...value, shape: shapeBeside(node, value, weight.shape) };
      return constant(`${hint}:${placed.shape.join("x")}`, placed);
    };
    const floats = add("Cast", [name], { to: dtype });
    const centered = zeroPoint
      ? add("Sub", [floats, beside(zeroName, tensorOf(dtype, zeroPoint.shape, numbersOf(zeroPoint)))])
      : floats;
    return [...added, { ...node, op: "Mul", inputs: [centered, beside(scaleName, scale)], attributes: {} }];
  });
  return constants.size === graph.constants.size ? graph : removeDeadNodes(inferTypes({ ...graph, nodes, constants }));
}

const isLayer = (graph: Graph, node: Node, weight: string): boolean =>
  node.inputs.indexOf(weight) === 1 && weightAxesOf(node, graph.values.get(weight)?.shape ?? []) !== undefined;

/** One of all, or one of each row, beside the weight's other axes. */
function shapeBeside(node: Node, { shape }: Tensor, weightShape: readonly number[]): readonly number[] {
  if (sizeOf(shape) === 1) return [];
  const axis = numberAttribute(node, "axis", 1);
  const rows = axis < 0 ? axis + weightShape.length : axis;
  return weightShape.map((size, i) => (i === rows ? size : 1));
}

/** The other way round: such weights come from DequantizeLinear. */
export function withoutFloatWeights(graph: Graph): Graph {
  const producerOf = producers(graph);
  const constants = new Map(graph.constants);
  const unique = uniqueNamesIn(graph);
  const found = new Map<string, Node>();
  for (const layer of graph.nodes) {
    const product = producerOf.get(layer.inputs[1] ?? "");
    const read =
      product?.op === "Mul" && isLayer(graph, layer, product.outputs[0]) && readFloats(graph, producerOf, product);
    if (!product || !read || found.has(product.name)) continue;
    const add = (value: Tensor, of: string): string => {
      const name = unique(`${of}:vector`);
      constants.set(name, value);
      return name;
    };
    const { integers, scale, zeroPoint, axis } = read;
    const type = graph.constants.get(integers)?.dtype;
    assert(type, `"${integers}" is not a constant`);
    found.set(product.name, {
      ...product,
      op: "DequantizeLinear",
      inputs: [
        integers,
        add(asVector(scale), product.inputs[1]),
        ...(zeroPoint ? [add({ ...asVector(tensorOf(type, zeroPoint.shape, numbersOf(zeroPoint))) }, integers)] : []),
      ],
      attributes: axis === undefined ? {} : { axis },
    });
  }
  if (found.size === 0) return graph;
  const nodes = graph.nodes.map((node) => found.get(node.name) ?? node);
  return removeDeadNodes(inferTypes({ ...graph, nodes, constants }));
}

const asVector = (value: Tensor): Tensor => ({
  ...value,
  shape: value.shape.length === 0 ? [] : [sizeOf(value.shape)],
});

interface FloatWeight {
  readonly integers: string;
  readonly scale: Tensor;
  readonly zeroPoint: Tensor | undefined;
  /** Absent: one scale for all. */
  readonly axis: number | undefined;
}

/** Of what `withFloatWeights` writes. */
function readFloats(graph: Graph, producerOf: ReadonlyMap<string, Node>, product: Node): FloatWeight | undefined {
  const before = producerOf.get(product.inputs[0]);
  const cast = before?.op === "Sub" ? producerOf.get(before.inputs[0]) : before;
  const scale = graph.constants.get(product.inputs[1]);
  const zeroPoint = before?.op === "Sub" ? graph.constants.get(before.inputs[1]) : undefined;
  if (cast?.op !== "Cast" || !scale || (before?.op === "Sub" && !zeroPoint)) return undefined;
  const [integers] = cast.inputs;
  const weight = graph.constants.get(integers);
  if (!weight || !isByte(weight) || stringAttribute(cast, "to", "") !== scale.dtype) return undefined;
  const rows = scale.shape.findIndex((size) => size !== 1);
  const isOfRows = sizeOf(scale.shape) > 1 || scale.shape.length > 0;
  const axis = isOfRows ? Math.max(0, rows) : undefined;
  const expected = weight.shape.map((size, i) => (i === axis ? size : 1));
  if (isOfRows && String(scale.shape) !== String(expected)) return undefined;
  if (zeroPoint && (String(zeroPoint.shape) !== String(scale.shape) || !fitsType(zeroPoint, weight))) return undefined;
  return { integers, scale, zeroPoint, axis };
}

function fitsType(zeroPoint: Tensor, { dtype }: Tensor): boolean {
  const [low, high] = dtype === "int8" ? [-128, 127] : [0, 255];
  return Array.from(numbersOf(zeroPoint)).every((value) => Number.isInteger(value) && value >= low && value <= high);
}
