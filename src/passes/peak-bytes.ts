// How much memory a graph's values take at their most.
import { dtypes } from "../ir/dtype.ts";
import type { Graph, ValueType } from "../ir/graph.ts";

/** Of a value; a size that is known only while the graph runs counts as `unknown`. */
export const bytesOf = ({ dtype, shape }: Pick<ValueType, "dtype" | "shape">, unknown = 1): number =>
  (shape.reduce<number>((product, size) => product * (typeof size === "number" ? size : unknown), 1) *
    dtypes[dtype].bits) /
  8;

/** What they give is what they read, in another shape: where it lies already. */
const reshaping: ReadonlySet<string> = new Set(["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"]);

/** By value that has no memory of its own, the value whose it is. */
function sharedPlaces({ nodes }: Graph, lasting: ReadonlySet<string>): ReadonlyMap<string, string> {
  const places = new Map<string, string>();
  for (const { op, inputs, outputs } of nodes)
    if (reshaping.has(op) && !lasting.has(outputs[0])) places.set(outputs[0], places.get(inputs[0]) ?? inputs[0]);
  return places;
}

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
  const places = sharedPlaces(graph, lasting);
  const placeOf = (value: string): string => places.get(value) ?? value;
  const lastRead = new Map<string, number>();
  graph.nodes.forEach(({ inputs }, at) => {
    for (const input of inputs) lastRead.set(placeOf(input), at);
  });
  let live = [...new Set([...graph.inputs, ...graph.outputs])].reduce((sum, value) => sum + bytes(value), 0);
  let most = live;
  graph.nodes.forEach(({ inputs, outputs }, at) => {
    const isPassing = (value: string): boolean => value !== "" && !lasting.has(value);
    const made = outputs.filter((value) => isPassing(value) && !places.has(value));
    live += made.reduce((sum, value) => sum + bytes(value), 0);
    most = Math.max(most, live);
    const ended = [...new Set([...inputs, ...outputs].map(placeOf))].filter(
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
