// Integers at exactly their width, of which ONNX has types for 2 and 4 bits alone: bytes of several integers each, and the nodes that
// make 8-bit integers of them. Runtimes compute these once, when they open the file.
import type { DType } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import { consumers, type Graph, type Node, producers } from "../ir/graph.ts";
import { pack, unpack } from "../ir/packing.ts";
import { numbersOf, sizeOf, type Tensor, tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { type NewNames, newNamesIn, uniqueNamesIn } from "../ir/unique-names.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";

/** Widths that divide a byte, the lowest bits first, whose sum is the width. */
const partsOf: Readonly<Record<number, readonly PartWidth[]>> = {
  2: [2],
  3: [2, 1],
  5: [1, 4],
  6: [2, 4],
  7: [1, 2, 4],
};
type PartWidth = 1 | 2 | 4;

/** 8-bit integers, all of them `low` or more, as numbers of `bits` bits above it. */
interface Packed {
  readonly dtype: "int8" | "uint8";
  readonly shape: readonly number[];
  readonly low: number;
  /** Names of uint8 constants [bytes, 1], the lowest bits first. */
  readonly parts: readonly { readonly name: string; readonly width: PartWidth }[];
}

const readers: ReadonlySet<string> = new Set(["DequantizeLinear", "LevelDequantize", "Cast", "Gather"]);

/**
 * The graph in which DequantizeLinear, LevelDequantize, Cast and Gather read constants of fewer bits in the file (`fileBits`) from what holds them
 * in so many: 4 bits in ONNX's type of 4 bits, others in bytes. Where the nodes would take more than they save, the next width.
 */
export function withPackedIntegers(graph: Graph): Graph {
  const constants = new Map(graph.constants);
  const names = newNamesIn(graph, constants);
  const unpacked = new Map<string, string>();
  const added: Node[] = [];
  for (const [name, integers] of packable(graph)) {
    const width = storedWidth(integers);
    constants.delete(name);
    const { nodes, output } =
      width === 4
        ? fromHalfBytes(name, integers, constants, names)
        : fromBytes(name, integers, width, constants, names);
    added.push(...nodes);
    unpacked.set(name, output);
  }
  if (added.length === 0) return graph;
  const rename = (input: string): string => unpacked.get(input) ?? input;
  const nodes = graph.nodes.map((node) => (readers.has(node.op) ? { ...node, inputs: node.inputs.map(rename) } : node));
  return removeDeadNodes(inferTypes({ ...graph, nodes: [...added, ...nodes], constants }));
}

/** Whether a file of the graph has integers in ONNX's type of 4 bits. */
export const packsHalfBytes = (graph: Graph): boolean =>
  packable(graph).some(([, integers]) => storedWidth(integers) === 4);

function packable(graph: Graph): readonly (readonly [name: string, integers: Tensor])[] {
  const narrow = [...graph.constants].filter(([, value]) => storedWidth(value) < 8);
  if (narrow.length === 0) return [];
  const readersOf = consumers(graph);
  return narrow.filter(
    ([name]) =>
      !graph.outputs.includes(name) &&
      (readersOf.get(name) ?? []).every(({ op, inputs }) => readers.has(op) && inputs.indexOf(name) === 0),
  );
}

/** About what a node takes in a file. */
const nodeBytes = 65;

/** Of the widths that hold the integers, the one with the smallest file. */
function storedWidth({ dtype, shape, fileBits = 8 }: Tensor): number {
  if (fileBits >= 8 || (dtype !== "int8" && dtype !== "uint8")) return 8;
  const count = sizeOf(shape);
  const nodesAt = (width: number): number => {
    if (width === 8) return 0;
    return width === 4 ? 1 : 1 + 6 * partsOf[width].length + (count % 8 === 0 ? 0 : 2);
  };
  const bytesAt = (width: number): number => (width * count) / 8 + nodeBytes * nodesAt(width);
  const widths = [2, 3, 4, 5, 6, 7, 8].filter((width) => width >= fileBits);
  return widths.reduce((best, width) => (bytesAt(width) < bytesAt(best) ? width : best));
}

interface Unpacking {
  readonly nodes: readonly Node[];
  readonly output: string;
}

function fromHalfBytes(
  name: string,
  integers: Tensor,
  constants: Map<string, Tensor>,
  { unique }: NewNames,
): Unpacking {
  constants.set(name, { ...integers, dtype: integers.dtype === "uint8" ? "uint4" : "int4" });
  const output = unique("u");
  const node = { name: output, op: "Cast", inputs: [name], outputs: [output], attributes: { to: integers.dtype } };
  return { nodes: [node], output };
}

function fromBytes(
  name: string,
  integers: Tensor,
  bits: number,
  constants: Map<string, Tensor>,
  names: NewNames,
): Unpacking {
  assert(integers.dtype === "int8" || integers.dtype === "uint8", `packing "${name}" of ${integers.dtype}`);
  const low = integers.dtype === "int8" ? -(2 ** (bits - 1)) : 0;
  const values = numbersOf(integers);
  const count = Math.ceil(values.length / 8) * 8;
  let shift = 0;
  const parts = partsOf[bits].map((width) => {
    const codes = new Uint8Array(count);
    for (let i = 0; i < values.length; i++) codes[i] = ((values[i] - low) >> shift) & (2 ** width - 1);
    shift += width;
    const part = names.unique(`${name}:${width}`);
    const bytes = packBits(codes, width);
    constants.set(part, tensor("uint8", [bytes.length, 1], bytes));
    return { name: part, width };
  });
  return unpackNodes({ dtype: integers.dtype, shape: integers.shape, low, parts }, names);
}

/** As packed types of ONNX are, the first in the lowest bits. */
const packedType = { 1: undefined, 2: "uint2", 4: "uint4" } as const;

function packBits(codes: Uint8Array, width: PartWidth): Uint8Array {
  const type = packedType[width];
  if (type) return pack(type, codes);
  const bytes = new Uint8Array(Math.ceil(codes.length / 8));
  for (let i = 0; i < codes.length; i++) bytes[i >> 3] |= codes[i] << (i & 7);
  return bytes;
}

function unpackBits(bytes: Uint8Array, width: PartWidth, count: number): ArrayLike<number> {
  const type = packedType[width];
  return type
    ? unpack(type, bytes, count)
    : Uint8Array.from({ length: count }, (_, i) => (bytes[i >> 3] >> (i & 7)) & 1);
}

/** What makes the 8-bit integers of their parts. */
function unpackNodes({ dtype, shape, low, parts }: Packed, { unique, constant }: NewNames): Unpacking {
  const nodes: Node[] = [];
  const add = (op: string, inputs: readonly string[], attributes: Node["attributes"] = {}): string => {
    const output = unique("u");
    nodes.push({ name: output, op, inputs, outputs: [output], attributes });
    return output;
  };
  const whole = (type: DType, value: number): string => constant(`${type}:${value}`, tensorOf(type, [], [value]));
  const list = (values: readonly number[]): string =>
    constant(`int64:${values.join("x")}`, tensorOf("int64", [values.length], values));
  const count = sizeOf(shape);
  const isPadded = count % 8 !== 0;
  const codesOf = ({ name, width }: Packed["parts"][number]): string => {
    const steps = Array.from({ length: 8 / width }, (_, i) => i * width);
    const shifts = constant(`shifts:${width}`, tensorOf("uint8", [1, steps.length], steps));
    const shifted = add("BitShift", [name, shifts], { direction: "RIGHT" });
    return add("Reshape", [add("Mod", [shifted, whole("uint8", 2 ** width)]), list(isPadded ? [-1] : shape)]);
  };
  const withoutPadding = (value: string): string =>
    isPadded ? add("Reshape", [add("Slice", [value, list([0]), list([count])]), list(shape)]) : value;
  const [first, ...others] = parts;
  let sum = codesOf(first);
  if (dtype === "uint8" && others.length === 0) return { nodes, output: withoutPadding(sum) };
  sum = add("Cast", [sum], { to: "int32" });
  let shift: number = first.width;
  for (const part of others) {
    const scaled = add("Mul", [add("Cast", [codesOf(part)], { to: "int32" }), whole("int32", 2 ** shift)]);
    sum = add("Add", [sum, scaled]);
    shift += part.width;
  }
  if (low !== 0) sum = add("Add", [sum, whole("int32", low)]);
  return { nodes, output: withoutPadding(add("Cast", [sum], { to: dtype })) };
}

/** The other way round: DequantizeLinear, and a Cast that makes indices of integers, read constants of 8 bits, which say how many their file holds them in. */
export function withoutPackedIntegers(graph: Graph): Graph {
  if (!graph.nodes.some(readsUnpacked)) return graph;
  const producerOf = producers(graph);
  const constants = new Map(graph.constants);
  const unique = uniqueNamesIn(graph);
  const known = new Map<string, string>();
  const unpackedOf = (value: string): string => {
    const found = known.get(value);
    if (found !== undefined) return found;
    const integers = producerOf.has(value) ? readPacked(graph, producerOf, value) : undefined;
    const name = integers ? unique(integers.name) : value;
    if (integers) constants.set(name, integers.value);
    known.set(value, name);
    return name;
  };
  const nodes = graph.nodes.map((node) =>
    readsUnpacked(node)
      ? { ...node, inputs: node.inputs.map((input, i) => (i === 0 ? unpackedOf(input) : input)) }
      : node,
  );
  if (constants.size === graph.constants.size) return graph;
  return removeDeadNodes(inferTypes({ ...graph, nodes, constants }));
}

const readsUnpacked = ({ op }: Node): boolean => op === "DequantizeLinear" || op === "Cast" || op === "Gather";

interface Read {
  readonly name: string;
  readonly value: Tensor;
}

function readPacked(graph: Graph, producerOf: ReadonlyMap<string, Node>, value: string): Read | undefined {
  const type = graph.values.get(value);
  const cast = producerOf.get(value);
  const half = graph.constants.get(cast?.inputs[0] ?? "");
  if (cast?.op === "Cast" && half && /^u?int4$/.test(half.dtype) && half.dtype === type?.dtype.replace("8", "4"))
    return { name: cast.inputs[0], value: { ...half, dtype: type.dtype, fileBits: 4 } };
  const packed = packedBehind(graph, producerOf, value);
  if (!packed) return undefined;
  const constants = new Map(
    packed.parts.flatMap(({ name }) => {
      const bytes = graph.constants.get(name);
      return bytes ? [[name, bytes] as const] : [];
    }),
  );
  const again = unpackNodes(packed, newNamesIn({ ...graph, nodes: [], values: constants }, constants));
  const made = { constants, producerOf: producers({ ...graph, nodes: again.nodes }) };
  const isSame = computesSame({ constants: graph.constants, producerOf }, value, made, again.output);
  return isSame ? { name: nameOf(packed), value: integersOf(graph, packed) } : undefined;
}

/** More nodes than come one after the other in what unpacks 7 bits. */
const longestChain = 16;

/** What the nodes behind a value would unpack, if they are such nodes. */
function packedBehind(graph: Graph, producerOf: ReadonlyMap<string, Node>, value: string): Packed | undefined {
  const type = graph.values.get(value);
  const shape = type?.shape.filter((size) => typeof size === "number") ?? [];
  if (!type || (type.dtype !== "int8" && type.dtype !== "uint8") || shape.length < type.shape.length) return undefined;
  const parts: Packed["parts"][number][] = [];
  let low = 0;
  let node = producerOf.get(value);
  for (let step = 0; node && step < longestChain; step++) {
    const [input, other = ""]: readonly string[] = node.inputs;
    const constant = graph.constants.get(other);
    if (node.op === "BitShift" && graph.constants.get(input)?.dtype === "uint8" && constant) {
      const width = 8 / sizeOf(constant.shape);
      if (width !== 1 && width !== 2 && width !== 4) return undefined;
      parts.unshift({ name: input, width });
      break;
    }
    if (node.op === "Add" && constant) [low] = toNumbers(constant);
    else if (node.op === "Add") {
      const part = shiftBehind(producerOf, producerOf.get(other));
      const steps = graph.constants.get(part?.inputs[1] ?? "");
      const width = steps && 8 / sizeOf(steps.shape);
      if (!part || (width !== 1 && width !== 2 && width !== 4)) return undefined;
      parts.unshift({ name: part.inputs[0], width });
    }
    node = producerOf.get(input);
  }
  return parts.length > 0 ? { dtype: type.dtype, shape, low, parts } : undefined;
}

function shiftBehind(producerOf: ReadonlyMap<string, Node>, last: Node | undefined): Node | undefined {
  let node = last;
  for (let step = 0; node && node.op !== "BitShift" && step < longestChain; step++)
    node = producerOf.get(node.inputs[0]);
  return node?.op === "BitShift" ? node : undefined;
}

interface Computed {
  readonly constants: ReadonlyMap<string, Tensor>;
  readonly producerOf: ReadonlyMap<string, Node>;
}

/** Whether a value is computed as one of `made` is, by the same operators of equal constants: as far as that goes, however far the first does. */
function computesSame(found: Computed, value: string, made: Computed, expected: string): boolean {
  const [constant, other] = [found.constants.get(value), made.constants.get(expected)];
  if (constant || other) return constant !== undefined && other !== undefined && areEqual(constant, other);
  const [node, like] = [found.producerOf.get(value), made.producerOf.get(expected)];
  if (!node || node.op !== like?.op || node.inputs.length !== like.inputs.length) return false;
  if (["to", "direction"].some((name) => node.attributes[name] !== like.attributes[name])) return false;
  return like.inputs.every((input, i) => computesSame(found, node.inputs[i], made, input));
}

const areEqual = (a: Tensor, b: Tensor): boolean =>
  a === b ||
  (a.dtype === b.dtype && String(a.shape) === String(b.shape) && String(toNumbers(a)) === String(toNumbers(b)));

/** `conv1.weight:integers` of `conv1.weight:integers:2`. */
const nameOf = ({ parts: [{ name }] }: Packed): string => name.replace(/:\d(_\d+)?$/, "");

function integersOf({ constants }: Graph, { dtype, shape, low, parts }: Packed): Tensor {
  const count = sizeOf(shape);
  const values = new Float64Array(count).fill(low);
  let shift = 0;
  for (const { name, width } of parts) {
    const bytes = constants.get(name);
    assert(bytes, `"${name}" is not a constant`);
    const codes = unpackBits(numbersOf(bytes) as Uint8Array, width, count);
    for (let i = 0; i < count; i++) values[i] += codes[i] * 2 ** shift;
    shift += width;
  }
  return { ...tensorOf(dtype, shape, values), fileBits: shift };
}
