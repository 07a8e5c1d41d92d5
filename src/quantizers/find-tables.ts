// Which constants are embedding tables, which nothing but lookups reads, and which are weights of recurrent layers.
import { consumers, type Graph, type Node, producers } from "../ir/graph.ts";
import { sizeOf } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { resolveAxis } from "../ops/operands.ts";

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

const recurrentOps: ReadonlySet<string> = new Set(["LSTM", "GRU", "RNN"]);

/** Smaller than a table: there is one for each layer. */
const leastRecurrent = 1 << 10;

/** By name, the weights W and R of recurrent layers; in floats, or in integers already. */
export function recurrentWeights(graph: Graph): ReadonlyMap<string, string> {
  const readers = consumers(graph);
  const producerOf = producers(graph);
  const stored = (value: string): string => {
    const product = producerOf.get(value);
    const cast = product?.op === "Mul" ? producerOf.get(product.inputs[0]) : undefined;
    return cast?.op === "Cast" ? cast.inputs[0] : value;
  };
  const isWeight = ({ op, inputs }: Node, value: string): boolean =>
    recurrentOps.has(op) && inputs.every((input, i) => input !== value || i === 1 || i === 2);
  const weights = new Map<string, string>();
  for (const { op, inputs } of graph.nodes)
    for (const value of recurrentOps.has(op) ? inputs.slice(1, 3) : []) {
      const constant = stored(value);
      const table = graph.constants.get(constant);
      if (!table || sizeOf(table.shape) < leastRecurrent || graph.outputs.includes(constant)) continue;
      if ((readers.get(value) ?? []).every((node) => isWeight(node, value)))
        weights.set(constant.replace(/\.weight$/, ""), constant);
    }
  return weights;
}

const looksUpRows = ({ values }: Graph, node: Node): boolean =>
  node.op === "Gather" &&
  resolveAxis(node, numberAttribute(node, "axis", 0), values.get(node.inputs[0])?.shape.length ?? 0) === 0;
