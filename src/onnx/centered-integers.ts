// Weights with zero points in files: nodes take the zero points off before DequantizeLinear, so that what is left after the runtime
// has computed these, once, when it opens the file, are weights around zero, which its kernels are fast with.
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { newNamesIn, uniqueNamesIn } from "../ir/unique-names.ts";
import { numberAttribute, stringAttribute } from "../ops/attributes.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";

/** One of all, or one of each row; those of groups stay. */
function placedBeside(node: Node, zeroPoints: Tensor, shape: readonly number[]): Tensor | undefined {
  const values = Int32Array.from(numbersOf(zeroPoints));
  if (numberAttribute(node, "block_size", 0) > 0) return undefined;
  if (values.length === 1) return tensorOf("int32", [], values);
  const axis = numberAttribute(node, "axis", 1);
  const rows = axis < 0 ? axis + shape.length : axis;
  return tensorOf(
    "int32",
    shape.map((size, i) => (i === rows ? size : 1)),
    values,
  );
}

function fitInt8(integers: Tensor, zeroPoints: Tensor): boolean {
  const most = (values: Tensor): number =>
    Float64Array.from(numbersOf(values)).reduce((high, q) => Math.max(high, q), 0);
  return most(integers) <= 127 && most(zeroPoints) <= 128;
}

/** The graph in which these constants of uint8, by name, lose their zero points before DequantizeLinear where int8 holds what is left. */
export function withCenteredIntegers(graph: Graph, integers: ReadonlySet<string>): Graph {
  const constants = new Map(graph.constants);
  const { unique, constant } = newNamesIn(graph, constants);
  const nodes = graph.nodes.flatMap((node): readonly Node[] => {
    const [name, scale, zeroName = ""] = node.inputs;
    const [weight, zeroPoints] = [constants.get(name), constants.get(zeroName)];
    const isWeight = node.op === "DequantizeLinear" && integers.has(name);
    if (!isWeight || weight?.dtype !== "uint8" || !zeroPoints) return [node];
    const beside = placedBeside(node, zeroPoints, weight.shape);
    if (!beside || !fitInt8(weight, zeroPoints)) return [node];
    const offsets = constant(`${zeroName}:${beside.shape.join("x")}`, beside);
    const added: Node[] = [];
    const add = (op: string, inputs: readonly string[], attributes: Node["attributes"] = {}): string => {
      const output = unique("u");
      added.push({ name: output, op, inputs, outputs: [output], attributes });
      return output;
    };
    const centered = add("Cast", [add("Sub", [add("Cast", [name], { to: "int32" }), offsets])], { to: "int8" });
    return [...added, { ...node, inputs: [centered, scale] }];
  });
  return constants.size === graph.constants.size ? graph : removeDeadNodes(inferTypes({ ...graph, nodes, constants }));
}

/** The other way round: DequantizeLinear has the integers of the file and their zero points. */
export function withoutCenteredIntegers(graph: Graph): Graph {
  const producerOf = producers(graph);
  const found = new Map<Node, Centered>();
  for (const node of graph.nodes) {
    const centered = node.op === "DequantizeLinear" ? centeredBehind(graph, producerOf, node) : undefined;
    if (centered) found.set(node, centered);
  }
  if (found.size === 0) return graph;
  const constants = new Map(graph.constants);
  const unique = uniqueNamesIn(graph);
  const nodes = graph.nodes.map((node) => {
    const centered = found.get(node);
    if (!centered) return node;
    const zeroPoint = unique(`${centered.name}:zero_point`);
    constants.set(zeroPoint, centered.zeroPoints);
    return { ...node, inputs: [centered.name, node.inputs[1], zeroPoint] };
  });
  return removeDeadNodes(inferTypes({ ...graph, nodes, constants }));
}

interface Centered {
  readonly name: string;
  /** As DequantizeLinear takes them. */
  readonly zeroPoints: Tensor;
}

function centeredBehind(graph: Graph, producerOf: ReadonlyMap<string, Node>, node: Node): Centered | undefined {
  const narrow = producerOf.get(node.inputs[0]);
  const difference = producerOf.get(narrow?.inputs[0] ?? "");
  const wide = producerOf.get(difference?.inputs[0] ?? "");
  if (!isCastTo(narrow, "int8") || difference?.op !== "Sub" || !isCastTo(wide, "int32")) return undefined;
  const [integers, offsets] = [graph.constants.get(wide.inputs[0]), graph.constants.get(difference.inputs[1])];
  const scale = graph.constants.get(node.inputs[1]);
  if (integers?.dtype !== "uint8" || offsets?.dtype !== "int32" || !scale) return undefined;
  const given = toNumbers(offsets);
  const count = sizeOf(scale.shape);
  const own = node.inputs[2] ? graph.constants.get(node.inputs[2]) : undefined;
  const isZero = !node.inputs[2] || (own !== undefined && toNumbers(own).every((value) => value === 0));
  if (!isZero || given.some((value) => value < 0 || value > 255) || (given.length !== 1 && given.length !== count))
    return undefined;
  const expected = placedBeside(node, tensorOf("uint8", [given.length], given), integers.shape);
  if (String(expected?.shape) !== String(offsets.shape)) return undefined;
  const points = given.length === count ? given : new Array<number>(count).fill(given[0]);
  return { name: wide.inputs[0], zeroPoints: tensorOf("uint8", scale.shape, points) };
}

const isCastTo = (node: Node | undefined, type: string): node is Node =>
  node?.op === "Cast" && stringAttribute(node, "to", "") === type;
