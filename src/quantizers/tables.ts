// Embedding tables, which nothing but lookups reads, and weights of recurrent layers: integers in the file, with a scale for each row.
import type { Graph, Node } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { type NewNames, newNamesIn } from "../ir/unique-names.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { lookupTables, recurrentWeights } from "./find-tables.ts";
import { weightQparams } from "./observe-weights.ts";
import { forEachScaled } from "./qparams.ts";
import { matchesPattern, type QuantizeOptions } from "./quantize-options.ts";
import { boundsOf } from "./quantizer.ts";

/** 8 for all that `layers` says nothing of; `undefined`: it stays in float. */
function bitsOfTable({ layers }: QuantizeOptions, name: string): number | undefined {
  const choice = Object.entries(layers).findLast(([pattern]) => matchesPattern(pattern, name))?.[1];
  if (choice === "float") return undefined;
  return typeof choice === "number" ? choice : (choice?.weights ?? 8);
}

/** Tables and recurrent weights as integers: they depend on no sample, and train nowhere. They keep their names. */
export function quantizeTables(graph: Graph, options: QuantizeOptions): Graph {
  if (options.activations === "float") return graph;
  const constants = new Map(graph.constants);
  const names = newNamesIn(graph, constants);
  const scaleOf = (name: string, value: string, axis: number): string | undefined => {
    const table = graph.constants.get(value);
    const bits = bitsOfTable(options, name);
    if (table?.dtype !== "float32" || bits === undefined) return undefined;
    const { integers, scale } = integersOf(table, axis, bits);
    constants.set(value, integers);
    return names.constant(`${name}.weight_scale`, scale);
  };
  const looked = scalesOf(lookupTables(graph), (name, value) => scaleOf(name, value, 0));
  const recurrent = scalesOf(recurrentWeights(graph), (name, value) => scaleOf(name, value, 1));
  if (looked.size + recurrent.size === 0) return graph;
  const values = new Map(graph.values);
  for (const [name, { dtype, shape }] of constants) values.set(name, { dtype, shape });
  const floats = [...recurrent].map(([value, scale]) => floatsOf(value, scale, names));
  const renamed = new Map(floats.map(({ value, output }) => [value, output]));
  const nodes = graph.nodes.flatMap((node): readonly Node[] => {
    const scale = node.op === "Gather" ? looked.get(node.inputs[0]) : undefined;
    if (scale !== undefined) return lookUp(node, scale, names);
    return [{ ...node, inputs: node.inputs.map((input) => renamed.get(input) ?? input) }];
  });
  const all = [...floats.flatMap((each) => each.nodes), ...nodes];
  return removeDeadNodes(inferTypes({ ...graph, nodes: all, constants, values }));
}

/** By value, the scales of those that have become integers. */
const scalesOf = (
  found: ReadonlyMap<string, string>,
  scaleOf: (name: string, value: string) => string | undefined,
): ReadonlyMap<string, string> =>
  new Map(
    [...found].flatMap(([name, value]) => {
      const scale = scaleOf(name, value);
      return scale === undefined ? [] : [[value, scale] as const];
    }),
  );

/** Rows and their scales, multiplied. */
function lookUp(node: Node, scale: string, { unique }: NewNames): readonly Node[] {
  const [table, indices] = node.inputs;
  const [rows, floats, scales] = ["rows", "floats", "scales"].map((part) => unique(`${node.name}:${part}`));
  const axis = { axis: 0 };
  return [
    { name: rows, op: "Gather", inputs: [table, indices], outputs: [rows], attributes: axis },
    { name: floats, op: "Cast", inputs: [rows], outputs: [floats], attributes: { to: "float32" } },
    { name: scales, op: "Gather", inputs: [scale, indices], outputs: [scales], attributes: axis },
    { ...node, op: "Mul", inputs: [floats, scales], attributes: {} },
  ];
}

/** The whole weight, which the runtime computes once, when it opens the file. */
function floatsOf(
  value: string,
  scale: string,
  { unique }: NewNames,
): { readonly value: string; readonly output: string; readonly nodes: readonly Node[] } {
  const [cast, output] = ["cast", "floats"].map((part) => unique(`${value}:${part}`));
  const nodes = [
    { name: cast, op: "Cast", inputs: [value], outputs: [cast], attributes: { to: "float32" } },
    { name: output, op: "Mul", inputs: [cast, scale], outputs: [output], attributes: {} },
  ];
  return { value, output, nodes };
}

/** Scales have the table's axes, so that they multiply it, and what is looked up of both, as they are. */
function integersOf(table: Tensor, axis: number, bits: number): { readonly integers: Tensor; readonly scale: Tensor } {
  const granularity = { axis };
  const { scale } = weightQparams(table, { granularity, bits, symmetric: true }, "min-max");
  const { low, high } = boundsOf(bits, true);
  const scales = numbersOf(scale);
  const integers = new Int8Array(sizeOf(table.shape));
  forEachScaled(table, granularity, scale.shape, (i, w, at) => {
    integers[at] = Math.max(low, Math.min(high, roundHalfToEven(Math.fround(w / scales[i]))));
  });
  return {
    integers: { dtype: "int8", shape: table.shape, data: integers, fileBits: bits },
    scale: tensorOf(
      "float32",
      table.shape.map((count, each) => (each === axis ? count : 1)),
      scales,
    ),
  };
}
