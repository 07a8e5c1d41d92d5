// How much memory a graph's values take at their most.
import { dtypes } from "../ir/dtype.ts";
import type { Graph, ValueType } from "../ir/graph.ts";

/** Of a value; a size that is known only while the graph runs counts as `unknown`. */
export const bytesOf = ({ dtype, shape }: Pick<ValueType, "dtype" | "shape">, unknown = 1): number =>
  (shape.reduce<number>((product, size) => product * (typeof size === "number" ? size : unknown), 1) *
    dtypes[dtype].bits) /
  8;

/**
 * The most bytes that live at once where nodes run in order, each value from the node that gives it to the last that reads it;
 * inputs and outputs live throughout. Constants and variables are not among them.
 */
export function peakBytes(graph: Graph): number {
  const bytes = (value: string): number => {
    const type = graph.values.get(value);
    return type ? bytesOf(type) : 0;
  };
  const lasting = new Set([...graph.inputs, ...graph.outputs, ...graph.constants.keys(), ...graph.variables]);
  const lastRead = new Map<string, number>();
  graph.nodes.forEach(({ inputs }, at) => {
    for (const input of inputs) lastRead.set(input, at);
  });
  let live = [...new Set([...graph.inputs, ...graph.outputs])].reduce((sum, value) => sum + bytes(value), 0);
  let most = live;
  graph.nodes.forEach(({ inputs, outputs }, at) => {
    const isPassing = (value: string): boolean => value !== "" && !lasting.has(value);
    live += outputs.filter(isPassing).reduce((sum, value) => sum + bytes(value), 0);
    most = Math.max(most, live);
    const ended = [...new Set([...inputs, ...outputs])].filter(
      (value) => isPassing(value) && (lastRead.get(value) ?? at) === at,
    );
    live -= ended.reduce((sum, value) => sum + bytes(value), 0);
  });
  return most;
}

/** Of constants and variables. */
export const bytesOfWeights = (graph: Graph): number =>
  [...graph.constants.keys(), ...graph.variables].reduce((sum, name) => {
    const type = graph.values.get(name) ?? graph.constants.get(name);
    return sum + (type ? bytesOf(type) : 0);
  }, 0);
