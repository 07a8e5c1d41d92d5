// Tables of embeddings as integers of 2 and 4 bits in blocks: bytes of rows are looked up, and only these become floats.
import { type DType, packedBytes } from "../ir/dtype.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { pack } from "../ir/packing.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, sizeOf, type Tensor, tensor, tensorOf } from "../ir/tensor.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { lookupTables } from "../quantizers/find-tables.ts";
import { weightQparams } from "../quantizers/observe-weights.ts";
import { forEachScaled } from "../quantizers/qparams.ts";
import { boundsOf } from "../quantizers/quantizer.ts";
import { type Emitter, emitInto } from "./emit.ts";

export interface TableWidth {
  readonly bits: 2 | 4;
  /** Neighbours of a row that share a scale. */
  readonly blockSize: number;
}

/** The tables whose rows divide into blocks and bytes; the others stay as they are. */
export function blockTables(graph: Graph, width: TableWidth): Graph {
  const fits = ({ shape }: Tensor): boolean =>
    shape.length === 2 && shape[1] % (8 / width.bits) === 0 && shape[1] % width.blockSize === 0;
  const tables = new Map(
    [...lookupTables(graph).values()].flatMap((name) => {
      const value = graph.constants.get(name);
      return value?.dtype === "float32" && fits(value) ? [[name, value] as const] : [];
    }),
  );
  if (tables.size === 0) return graph;
  const emit = emitInto(graph);
  const stored = new Map<string, StoredTable>();
  for (const node of graph.nodes) {
    const [table] = node.inputs;
    const value = node.op === "Gather" ? tables.get(table) : undefined;
    if (!value) {
      emit.push(node);
      continue;
    }
    const known = stored.get(table) ?? storeTable(emit, table, value, width);
    stored.set(table, known);
    lookUpBlocks(emit, graph, node, known);
  }
  return inferTypes(emit.graph());
}

interface StoredTable extends TableWidth {
  readonly columns: number;
  readonly integers: string;
  readonly scale: string;
  readonly zeroPoint: string;
}

function storeTable(emit: Emitter, name: string, value: Tensor, width: TableWidth): StoredTable {
  const { bits, blockSize } = width;
  const granularity = { axis: 1, groupSize: blockSize };
  const { scale, zeroPoint } = weightQparams(value, { granularity, bits, symmetric: false }, "min-max");
  const add = (suffix: string, made: Tensor): string => emit.constant(`${name}:${suffix}`, made);
  const { high } = boundsOf(bits, false);
  const [scales, points] = [numbersOf(scale), numbersOf(zeroPoint)];
  const integers = new Uint8Array(sizeOf(value.shape));
  forEachScaled(value, granularity, scale.shape, (i, w, at) => {
    integers[at] = Math.min(high, Math.max(0, roundHalfToEven(w / scales[i]) + points[i]));
  });
  return {
    ...width,
    columns: value.shape[1],
    integers: add("integers", packedRows(tensor("uint8", value.shape, integers), bits)),
    scale: add("scale", scale),
    zeroPoint: add("zero_point", tensorOf("uint8", zeroPoint.shape, points)),
  };
}

/** A row's first part in the lowest bits of its bytes, the next part above it, so that unpacked parts join to the row. */
function packedRows({ shape: [rows, columns], data }: Tensor, bits: 2 | 4): Tensor {
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
