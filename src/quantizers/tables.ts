// Embedding tables, which nothing but lookups reads: integers in the file, with a scale for each row.
import { consumers, type Graph, type Node } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { newNamesIn } from "../ir/unique-names.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { resolveAxis } from "../ops/operands.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { weightQparams } from "./observe-weights.ts";
import { matchesPattern, type QuantizeOptions } from "./quantize-options.ts";
import { boundsOf } from "./quantizer.ts";

/** Smaller ones save nothing that counts in a file: positions of a window, relative biases. */
const leastElements = 1 << 14;

/** By name, as `layers` has it, the constants whose rows are looked up; in floats, or in integers already. */
export function lookupTables(graph: Graph): ReadonlyMap<string, string> {
  const readers = consumers(graph);
  const tables = new Map<string, string>();
  for (const { op, inputs } of graph.nodes) {
    const table = op === "Gather" ? graph.constants.get(inputs[0]) : undefined;
    if (!table || !/^(float32|int8)$/.test(table.dtype) || table.shape.length < 2) continue;
    if (sizeOf(table.shape) < leastElements || graph.outputs.includes(inputs[0])) continue;
    if ((readers.get(inputs[0]) ?? []).every((node) => looksUpRows(graph, node)))
      tables.set(inputs[0].replace(/\.weight$/, ""), inputs[0]);
  }
  return tables;
}

const looksUpRows = ({ values }: Graph, node: Node): boolean =>
  node.op === "Gather" &&
  resolveAxis(node, numberAttribute(node, "axis", 0), values.get(node.inputs[0])?.shape.length ?? 0) === 0;

/** 8 for all that `layers` says nothing of; `undefined`: it stays in float. */
function bitsOfTable({ layers }: QuantizeOptions, name: string): number | undefined {
  const choice = Object.entries(layers).findLast(([pattern]) => matchesPattern(pattern, name))?.[1];
  if (choice === "float") return undefined;
  return typeof choice === "number" ? choice : (choice?.weights ?? 8);
}

/** The tables as integers: they depend on no sample, and train nowhere. They keep their names. */
export function quantizeTables(graph: Graph, options: QuantizeOptions): Graph {
  if (options.activations === "float") return graph;
  const constants = new Map(graph.constants);
  const names = newNamesIn(graph, constants);
  const scaleOf = new Map<string, string>();
  for (const [name, value] of lookupTables(graph)) {
    const table = graph.constants.get(value);
    const bits = bitsOfTable(options, name);
    if (table?.dtype !== "float32" || bits === undefined) continue;
    const { integers, scale } = integersByRow(table, bits);
    constants.set(value, integers);
    scaleOf.set(value, names.constant(`${name}.weight_scale`, scale));
  }
  if (scaleOf.size === 0) return graph;
  const values = new Map(graph.values);
  for (const [name, { dtype, shape }] of constants) values.set(name, { dtype, shape });
  const nodes = graph.nodes.flatMap((node): readonly Node[] => {
    const scale = node.op === "Gather" ? scaleOf.get(node.inputs[0]) : undefined;
    if (scale === undefined) return [node];
    const [table, indices] = node.inputs;
    const [rows, floats, scales] = ["rows", "floats", "scales"].map((part) => names.unique(`${node.name}:${part}`));
    const axis = { axis: 0 };
    return [
      { name: rows, op: "Gather", inputs: [table, indices], outputs: [rows], attributes: axis },
      { name: floats, op: "Cast", inputs: [rows], outputs: [floats], attributes: { to: "float32" } },
      { name: scales, op: "Gather", inputs: [scale, indices], outputs: [scales], attributes: axis },
      { ...node, op: "Mul", inputs: [floats, scales], attributes: {} },
    ];
  });
  return removeDeadNodes(inferTypes({ ...graph, nodes, constants, values }));
}

/** A row's scale has the table's axes, so that what is looked up of both is multiplied as it is. */
function integersByRow(table: Tensor, bits: number): { readonly integers: Tensor; readonly scale: Tensor } {
  const [rows] = table.shape;
  const { scale } = weightQparams(table, { granularity: { axis: 0 }, bits, symmetric: true }, "min-max");
  const { low, high } = boundsOf(bits, true);
  const [floats, scales] = [numbersOf(table), numbersOf(scale)];
  const size = floats.length / rows;
  const integers = Int8Array.from(floats, (value, i) =>
    Math.max(low, Math.min(high, roundHalfToEven(Math.fround(value / scales[Math.floor(i / size)])))),
  );
  return {
    integers: { dtype: "int8", shape: table.shape, data: integers, fileBits: bits },
    scale: tensorOf("float32", [rows, ...table.shape.slice(1).map(() => 1)], scales),
  };
}
