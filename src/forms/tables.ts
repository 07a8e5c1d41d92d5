// Tables of embeddings as integers: rows are looked up as integers, and only these become floats.
import { type DType, packedBytes } from "../ir/dtype.ts";
import { consumers, type Graph, type Node } from "../ir/graph.ts";
import { pack } from "../ir/packing.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, sizeOf, type Tensor, tensor, tensorOf } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { type Granularity, scaleShape } from "../ops/granularity.ts";
import { lookupNodes } from "../quantizers/lookups.ts";
import { weightQparams } from "../quantizers/observe-weights.ts";
import { forEachScaled, type Qparams } from "../quantizers/qparams.ts";
import { boundsOf } from "../quantizers/quantizer.ts";
import { type Emitter, emitInto } from "./emit.ts";

export interface TableWidth {
  readonly bits: 2 | 4 | 8;
  /** Neighbours of a row that share a scale, at 2 and 4 bits; at 8 a whole row does. */
  readonly blockSize: number;
}

/** Smaller ones are not worth the nodes. */
const leastElements = 4096;

/** The constants that nodes look rows up in, and do nothing else with. */
function tablesOf(graph: Graph): ReadonlySet<string> {
  const readers = consumers(graph);
  const isTable = (name: string, { dtype, shape }: Tensor): boolean =>
    dtype === "float32" &&
    shape.length === 2 &&
    sizeOf(shape) >= leastElements &&
    !graph.outputs.includes(name) &&
    (readers.get(name) ?? []).every((node) => isLookup(node, name));
  return new Set([...graph.constants].flatMap(([name, value]) => (isTable(name, value) ? [name] : [])));
}

const isLookup = (node: Node, table: string): boolean =>
  node.op === "Gather" && node.inputs[0] === table && numberAttribute(node, "axis", 0) === 0;

/** Tables whose rows do not divide into blocks and bytes have 8 bits. */
export function integerTables(graph: Graph, width: TableWidth): Graph {
  const tables = tablesOf(graph);
  if (tables.size === 0) return graph;
  const emit = emitInto(graph);
  const stored = new Map<string, StoredTable>();
  for (const node of graph.nodes) {
    const [table] = node.inputs;
    const value = node.op === "Gather" && tables.has(table) ? graph.constants.get(table) : undefined;
    if (!value) {
      emit.push(node);
      continue;
    }
    const known = stored.get(table) ?? storeTable(emit, table, value, width);
    stored.set(table, known);
    if (known.bits === 8) lookUpRows(emit, node, known);
    else lookUpBlocks(emit, graph, node, known);
  }
  return emit.graph();
}

interface StoredTable extends TableWidth {
  readonly columns: number;
  readonly granularity: Granularity;
  readonly integers: string;
  readonly scale: string;
  readonly zeroPoint: string;
}

function storeTable(emit: Emitter, name: string, value: Tensor, width: TableWidth): StoredTable {
  const [, columns] = value.shape;
  const fits = columns % (8 / width.bits) === 0 && columns % width.blockSize === 0;
  const bits = fits ? width.bits : 8;
  const isWhole = bits === 8;
  const granularity: Granularity = isWhole ? { axis: 0 } : { axis: 1, groupSize: width.blockSize };
  const site = { granularity, bits, symmetric: isWhole };
  const { scale, zeroPoint } = weightQparams(value, site, "min-max");
  const add = (suffix: string, made: Tensor): string => emit.constant(`${name}:${suffix}`, made);
  const integers = integersOf(value, { scale, zeroPoint }, site);
  return {
    ...width,
    bits,
    columns,
    granularity,
    integers: add("integers", isWhole ? integers : packedRows(integers, bits)),
    scale: add("scale", scale),
    zeroPoint: isWhole ? "" : add("zero_point", tensorOf("uint8", zeroPoint.shape, numbersOf(zeroPoint))),
  };
}

interface TableSite {
  readonly granularity: Granularity;
  readonly bits: number;
  readonly symmetric: boolean;
}

function integersOf(value: Tensor, { scale, zeroPoint }: Qparams, { granularity, bits, symmetric }: TableSite): Tensor {
  const { low, high } = boundsOf(bits, symmetric);
  const [scales, points] = [numbersOf(scale), numbersOf(zeroPoint)];
  const integers = symmetric ? new Int8Array(value.data.length) : new Uint8Array(value.data.length);
  forEachScaled(value, granularity, scaleShape(value.shape, granularity), (i, w, at) => {
    const q = roundHalfToEven(w / scales[i]) + (symmetric ? 0 : points[i]);
    integers[at] = Math.min(high, Math.max(low, q));
  });
  return tensor(symmetric ? "int8" : "uint8", value.shape, integers);
}

/** A row's first part in the lowest bits of its bytes, the next part above it, so that unpacked parts join to the row. */
function packedRows({ shape: [rows, columns], data }: Tensor, bits: 2 | 4 | 8): Tensor {
  const type = `uint${bits}` as DType;
  const parts = 8 / bits;
  const stride = packedBytes(type, columns);
  const turned = new Uint8Array(data.length);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < stride; i++)
      for (let part = 0; part < parts; part++)
        turned[row * columns + i * parts + part] = Number(data[row * columns + part * stride + i]);
  return tensor("uint8", [rows, stride], pack(type, turned));
}

function lookUpRows(emit: Emitter, node: Node, table: StoredTable): void {
  const { constants, constant } = emit;
  const unique = (hint: string): string => emit.value(hint, "float32");
  emit.push(...lookupNodes(node, table, { constants, names: { unique, constant } }));
}

/** Bytes of the rows, the parts in them, and blocks times their scales. */
function lookUpBlocks(emit: Emitter, { values }: Graph, node: Node, table: StoredTable): void {
  const { bits, blockSize, columns } = table;
  const [, indices] = node.inputs;
  const [output] = node.outputs;
  const rank = values.get(indices)?.shape.length ?? 0;
  const call = (op: string, inputs: readonly string[], dtype: DType, attributes: Node["attributes"] = {}): string =>
    emit.call(op, inputs, { dtype, hint: `${output}:${op}` }, attributes);
  const byte = (value: number): string => emit.constant(`uint8:${value}`, tensorOf("uint8", [], [value]));
  const list = (numbers: readonly number[]): string =>
    emit.constant(`int64:[${numbers}]`, tensorOf("int64", [numbers.length], numbers));
  const rowsOf = (constant: string, dtype: DType): string => call("Gather", [constant, indices], dtype, { axis: 0 });
  const floats = (value: string): string => call("Cast", [value], "float32", { to: "float32" });
  const behind = (value: string): string => call("Unsqueeze", [value, list([-1])], "float32");
  const bytes = rowsOf(table.integers, "uint8");
  const parts = Array.from({ length: 8 / bits }, (_, part) => {
    const shifted = part === 0 ? bytes : call("BitShift", [bytes, byte(part * bits)], "uint8", { direction: "RIGHT" });
    return call("Mod", [shifted, byte(2 ** bits)], "uint8");
  });
  const codes = floats(call("Concat", parts, "uint8", { axis: -1 }));
  const sizes = new Array<number>(rank).fill(0);
  const blocks = call("Reshape", [codes, list([...sizes, columns / blockSize, blockSize])], "float32");
  const centered = call("Sub", [blocks, behind(floats(rowsOf(table.zeroPoint, "uint8")))], "float32");
  const scaled = call("Mul", [centered, behind(rowsOf(table.scale, "float32"))], "float32");
  emit.call("Reshape", [scaled, list([...sizes, columns])], { output });
}
