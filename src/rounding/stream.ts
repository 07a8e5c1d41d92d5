// The values of a graph at a cut, sample after sample: where the rest of the graph goes on from.
import { dtypes } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { type Context, signalOf } from "../run/context.ts";
import { compileOptions } from "../run/with-program.ts";
import { cutUnit } from "../units/cut-unit.ts";

type Values = ReadonlyMap<string, Tensor>;

/** Batches of named values; each call starts over with the same ones. */
export type Batches = () => AsyncIterable<Values>;

/** `batches` give the values named `cut`, from which everything that is still wanted of a graph follows. */
export interface Stream {
  readonly cut: readonly string[];
  readonly batches: Batches;
}

/** `values` of the graph for every batch of the stream. */
async function* valuesOf(
  graph: Graph,
  { cut, batches }: Stream,
  values: readonly string[],
  context: Context,
): AsyncGenerator<Values, void, undefined> {
  const unit = cutUnit(
    graph,
    cut,
    values.filter((value) => !cut.includes(value)),
  );
  for await (const [given, found] of runs(unit, batches, context))
    yield new Map(values.map((value) => [value, tensorNamed(value, found, given)]));
}

function tensorNamed(value: string, ...places: readonly Values[]): Tensor {
  const found = places.find((place) => place.has(value))?.get(value);
  assert(found, `no value "${value}"`);
  return found;
}

/** What is given and what the graph makes of it, batch after batch. */
async function* runs(
  unit: Graph,
  batches: Batches,
  context: Context,
): AsyncGenerator<readonly [given: Values, found: Values], void, undefined> {
  const executable = await context.engine.compile(unit, compileOptions(context));
  const variables = await context.engine.variables(new Map());
  try {
    const program = executable.bind(variables);
    for await (const given of batches()) {
      const inputs = new Map(unit.inputs.map((name) => [name, tensorNamed(name, given)]));
      yield [given, unit.outputs.length === 0 ? new Map() : await program.run(inputs, signalOf(context))];
    }
  } finally {
    variables.dispose();
    await executable.dispose();
  }
}

/** One pass over a stream's batches, and where the stream goes on after it. */
export interface Pass {
  /** One value for each batch. */
  readonly values: AsyncGenerator<Tensor, void, undefined>;
  readonly end: Stream;
}

/** Computes `value` for every batch. With `cut`, the stream goes on from there, in memory; without, from where it was. */
export function passOver(
  graph: Graph,
  stream: Stream,
  value: string,
  cut: readonly string[] | undefined,
  context: Context,
): Pass {
  const held: Values[] = [];
  async function* values(): AsyncGenerator<Tensor, void, undefined> {
    for await (const found of valuesOf(graph, stream, [value, ...(cut ?? [])], context)) {
      if (cut) held.push(new Map(cut.map((name) => [name, tensorNamed(name, found)])));
      yield tensorNamed(value, found);
    }
  }
  async function* batches(): AsyncGenerator<Values, void, undefined> {
    yield* held;
  }
  return { values: values(), end: cut ? { cut, batches } : stream };
}

/** Bytes that a sample takes of these values; sizes that are not known count as 1. */
export function bytesOf(graph: Graph, values: readonly string[]): number {
  return values.reduce((total, value) => {
    const { dtype = "float32", shape = [] } = graph.values.get(value) ?? {};
    const elements = shape.reduce<number>((product, size) => product * (typeof size === "number" ? size : 1), 1);
    return total + (elements * dtypes[dtype].bits) / 8;
  }, 0);
}

/** What nodes before the one named compute, or the graph is given, for it and those behind it. */
export function cutBefore({ nodes, inputs }: Graph, node: string): readonly string[] {
  const at = nodes.findIndex(({ name }) => name === node);
  assert(at >= 0, `there is no node "${node}"`);
  const made = new Set([...inputs, ...nodes.slice(0, at).flatMap(({ outputs }) => outputs)]);
  const read = new Set(nodes.slice(at).flatMap((behind) => behind.inputs));
  return [...made].filter((value) => read.has(value));
}
