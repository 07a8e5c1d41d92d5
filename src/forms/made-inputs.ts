// Inputs made up for a model that came without data: noise, and whole numbers that its tables have rows for.
import { normalAt, randomBelow, randomBits } from "../data/random.ts";
import { inputTypes } from "../ir/batch-axes.ts";
import { isFloat } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { type Dim, type Graph, type Node, producers, type ValueType } from "../ir/graph.ts";
import { sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { groupOf } from "../ops/convolution-shape.ts";
import { opDefinition } from "../ops/index.ts";
import { symbolicSizes } from "../passes/with-sizes.ts";

/** By the name of an input's symbolic size. */
export type Sizes = ReadonlyMap<string, number>;

const pictureSize = 224;
/** Of pictures: red, green and blue. */
const colors = 3;
/** Of sequences: models may take fewer tokens than the first. */
export const sequenceSizes = [64, 16, 4] as const;
const [otherSize] = sequenceSizes;

/** What symbolic sizes are where nothing else is said: one sample, pictures of 224 pixels and as many channels as are convolved, sequences of `sequence`, no past. */
export function sizesOf(graph: Graph, given: Sizes, sequence: number = otherSize): Sizes {
  const { batch, others } = symbolicSizes(graph);
  const names = new Set([...batch, ...others]);
  const unknown = [...given.keys()].filter((name) => !names.has(name));
  if (unknown.length > 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `sizes names ${unknown.join(", ")}; the model's symbolic sizes are ${[...names].join(", ") || "none"}.`,
    );
  const pictures = new Set(
    [...inputTypes(graph).values()].flatMap(({ shape }) => (shape.length === 4 ? shape.slice(1) : [])),
  );
  const channels = convolvedChannels(graph);
  const defaultOf = (name: string): number => {
    if (batch.includes(name)) return 1;
    const filtered = channels.get(name);
    if (filtered !== undefined) return filtered;
    if (/channel/i.test(name)) return colors;
    if (/past/i.test(name)) return 0;
    return pictures.has(name) ? pictureSize : sequence;
  };
  const known = new Map([...names].map((name) => [name, given.get(name) ?? defaultOf(name)] as const));
  return new Map([...known].map(([name, size]) => [name, given.get(name) ?? sumOf(name, known) ?? size]));
}

/** By symbolic size, how many channels the filters of the convolutions take that read it. */
function convolvedChannels({ nodes, inputs, values }: Graph): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const node of nodes) {
    const channels = node.op === "Conv" && inputs.includes(node.inputs[0]) && values.get(node.inputs[0])?.shape[1];
    const filter = values.get(node.inputs[1])?.shape[1];
    if (typeof channels === "string" && typeof filter === "number") found.set(channels, filter * groupOf(node));
  }
  return found;
}

/** `past_sequence_length + sequence_length`, as exporters name the size of a mask. */
function sumOf(name: string, known: Sizes): number | undefined {
  const parts = name.split("+").map((part) => part.trim());
  const sizes = parts.map((part) => known.get(part) ?? (/^\d+$/.test(part) ? Number(part) : undefined));
  if (parts.length < 2 || sizes.includes(undefined)) return undefined;
  return sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
}

/**
 * One batch; another for each number of `batch`. Floats are standard normal, whole numbers that index a table are rows of it, and
 * other whole numbers and bools are 1, as masks are.
 */
export function madeInputs(
  graph: Graph,
  sizes: Sizes,
  { seed, batch }: { readonly seed: number; readonly batch: number },
): ReadonlyMap<string, Tensor> {
  const rows = indexedRows(graph);
  const types = [...inputTypes(graph)];
  return new Map(types.map(([name, type], i) => [name, madeInput(type, rows.get(name), sizes, [seed, batch, i])]));
}

function madeInput(
  { dtype, shape }: ValueType,
  rows: number | undefined,
  sizes: Sizes,
  counters: readonly number[],
): Tensor {
  const fixed = shape.map((size) => (typeof size === "number" ? size : (sizes.get(size) ?? otherSize)));
  const counter = randomBits(...counters);
  const at = (i: number): number => {
    if (isFloat(dtype)) return normalAt(counter, i);
    return rows === undefined ? 1 : randomBelow(rows, ...counters, i);
  };
  return tensorOf(
    dtype,
    fixed,
    Float64Array.from({ length: sizeOf(fixed) }, (_, i) => at(i)),
  );
}

/** By input whose numbers choose rows of tables, how many rows the smallest of these has. */
function indexedRows(graph: Graph): ReadonlyMap<string, number> {
  const made = producers(graph);
  const rows = new Map<string, number>();
  for (const node of graph.nodes)
    for (const [i, value] of node.inputs.entries()) {
      const size = indexedSize(graph, node, i);
      const input = typeof size === "number" ? inputBehind(graph, made, value) : undefined;
      if (input !== undefined) rows.set(input, Math.min(rows.get(input) ?? Number.POSITIVE_INFINITY, Number(size)));
    }
  return rows;
}

/** The size of the axis that a node's input points into. */
function indexedSize(graph: Graph, node: Node, input: number): Dim | undefined {
  const indexed = opDefinition(node.op)?.inputs[input]?.indexes;
  return indexed && graph.values.get(node.inputs[indexed.input])?.shape.at(indexed.axis(node));
}

/** The graph's input that a value holds the elements of, moved or of another type. */
function inputBehind(graph: Graph, made: ReadonlyMap<string, Node>, value: string): string | undefined {
  let name = value;
  for (let node = made.get(name); node; node = made.get(name)) {
    if (node.op !== "Cast" && !opDefinition(node.op)?.movesValues) return undefined;
    [name] = node.inputs;
  }
  return graph.inputs.includes(name) ? name : undefined;
}
