// The float model and the quantized one, layer after layer: what enters a layer, what it should give, and where both go on from.
import type { Share } from "../data/batches.ts";
import { batchAxes, inputTypes } from "../ir/batch-axes.ts";
import type { Builder } from "../ir/builder.ts";
import { dtypes, type TypedArray } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import type { Graph, ValueType } from "../ir/graph.ts";
import { sizeOf, type Tensor } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { inlineGraph } from "../passes/inline-graph.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { cutUnit } from "../units/cut-unit.ts";
import type { LayerValues } from "./sample-moments.ts";

type Values = ReadonlyMap<string, Tensor>;

/** Batches of a graph's inputs; each call starts over with the same ones, or with those of a part of them. */
export type Batches = (part?: Share) => AsyncIterable<Values>;

/** float: the float model. carried: what carries a layer's inputs to it. */
const sides = ["float", "carried"] as const;
type Side = (typeof sides)[number];
type BySide<T> = Readonly<Record<Side, T>>;

/** A value of one of the graphs. */
const named = (side: Side, value: string): string => `${side}/${value}`;

/** By side, the values from which everything that is still wanted of its graph follows, and what they are. */
export interface Streams {
  readonly cuts: BySide<readonly string[]>;
  /** Of a part, as passes were asked for; each call starts over with the same ones. */
  readonly batches: (part: Share) => AsyncIterable<StreamBatch>;
}

interface StreamBatch {
  readonly samples: number;
  /** By side and name. */
  readonly values: Values;
  /** Those that a pass before made: their arrays are this batch's alone. */
  readonly made: ReadonlySet<string>;
}

/** Both graphs at their inputs, which are the same. */
export function startOf(float: Graph, batches: Batches): Streams {
  const axes = batchAxes(inputTypes(float));
  return {
    cuts: { float: float.inputs, carried: float.inputs },
    batches: async function* (part) {
      for await (const batch of batches(part)) {
        const [input] = float.inputs;
        const samples = batch.get(input)?.shape[axes.get(input) ?? 0] ?? 0;
        const values = sides.flatMap((side) => [...batch].map(([name, value]) => [named(side, name), value] as const));
        yield { samples, values: new Map(values), made: new Set() };
      }
    },
  };
}

/** A graph of static shapes that computes what enters a layer and what the layer should give for it. */
export interface LayerGraph extends LayerValues {
  readonly graph: Graph;
}

/** A batch on its way through a layer's graph. */
export interface PassBatch {
  readonly samples: number;
  readonly inputs: Values;
  /** By output, an array that it may be written into. */
  readonly spare: ReadonlyMap<string, TypedArray>;
  readonly take: (outputs: Values) => void;
}

export interface LayerPass {
  readonly graph: (samples: number) => LayerGraph;
  /** Of a part of them. */
  readonly batches: (part: Share) => AsyncIterable<PassBatch>;
}

export interface PassJob {
  readonly from: Streams;
  readonly graphs: BySide<Graph>;
  /** carried: what enters the layer; float: what it should give, `bias` taken off. */
  readonly wanted: BySide<string>;
  readonly bias: Tensor | undefined;
  /** Where the streams go on from afterwards, held in memory; absent: from where they were. */
  readonly cuts: BySide<readonly string[]> | undefined;
}

/** One pass over parts of the batches. `end` holds once they have all gone through. */
export function passOver(job: PassJob): LayerPass & { readonly end: () => Streams } {
  const { from, cuts } = job;
  const graphs = new Map<number, PlannedGraph>();
  const graphOf = (samples: number): PlannedGraph => {
    const known = graphs.get(samples) ?? planGraph(job, samples);
    graphs.set(samples, known);
    return known;
  };
  const held = new Map<number, StreamBatch[]>();
  async function* batches(part: Share): AsyncGenerator<PassBatch, void, undefined> {
    const ofPart: StreamBatch[] = [];
    held.set(part.rank, ofPart);
    for await (const batch of from.batches(part)) {
      const planned = graphOf(batch.samples);
      const take = (outputs: Values): void => void (cuts && ofPart.push(nextBatch(batch, planned, outputs)));
      const inputs = new Map(planned.graph.inputs.map((name) => [name, tensorNamed(name, batch.values)]));
      yield { samples: batch.samples, inputs, spare: spareFor(batch, planned), take };
    }
  }
  return { graph: graphOf, batches, end: () => (cuts ? heldStreams(cuts, held) : from) };
}

/** Apart from the pass that made them: within it they would keep the streams that it went on from, and those before. */
function heldStreams(cuts: BySide<readonly string[]>, held: ReadonlyMap<number, readonly StreamBatch[]>): Streams {
  return {
    cuts,
    batches: async function* ({ rank }) {
      yield* held.get(rank) ?? [];
    },
  };
}

interface PlannedGraph extends LayerGraph {
  /** By side and name what the streams go on from, and which output that is; "" where the batch has it already. */
  readonly kept: ReadonlyMap<string, string>;
}

function planGraph({ from, graphs, wanted, bias, cuts }: PassJob, samples: number): PlannedGraph {
  const build = buildOn();
  const kept = new Map<string, string>();
  const [target, x] = sides.map((side) => {
    const cut = from.cuts[side];
    const graph = setBatchSize(graphs[side], samples);
    // What sizes alone decide is folded into what reads it once they are numbers, and nothing goes on from it.
    const next = (cuts?.[side] ?? []).filter((value) => graph.values.has(value));
    const made = next.filter((value) => !cut.includes(value));
    const names = addUnit(build, side, graph, cut, [wanted[side], ...made]);
    for (const value of next) kept.set(named(side, value), made.includes(value) ? nameOf(value, names) : "");
    return nameOf(wanted[side], names);
  });
  const t = bias ? build.node("Sub", [target, build.constant(bias)]) : target;
  return { graph: build.graph([...kept.values()].filter((output) => output !== "")), x, t, kept };
}

/** Adds what computes `wanted` from the cut; gives the names of all values in the graph that is built. */
function addUnit(
  build: Builder,
  side: Side,
  graph: Graph,
  cut: readonly string[],
  wanted: readonly string[],
): ReadonlyMap<string, string> {
  const unit = cutUnit(graph, cut, wanted);
  const read = new Set([...wanted, ...unit.nodes.flatMap(({ inputs }) => inputs)]);
  const given = unit.inputs.filter((input) => read.has(input));
  const inputs = given.map((input) => [input, build.input(named(side, input), typeOf(graph, input))] as const);
  return inlineGraph(build, unit, `${side}/`, new Map(inputs));
}

function typeOf({ values }: Graph, value: string): ValueType {
  const type = values.get(value);
  assert(type, `"${value}" has no type`);
  return type;
}

function nameOf(value: string, names: ReadonlyMap<string, string>): string {
  const name = names.get(value);
  assert(name, `the pass does not compute "${value}"`);
  return name;
}

function tensorNamed(value: string, values: Values): Tensor {
  const found = values.get(value);
  assert(found, `no value "${value}"`);
  return found;
}

/** Arrays that a pass before made for what nothing goes on from, by output of the same type and size. */
function spareFor({ values, made }: StreamBatch, { graph, kept }: PlannedGraph): ReadonlyMap<string, TypedArray> {
  const free = [...made].filter((name) => !kept.has(name)).map((name) => tensorNamed(name, values));
  return new Map(
    graph.outputs.flatMap((output) => {
      const { dtype, shape } = typeOf(graph, output);
      const size = sizeOf(shape.map(Number));
      const at = free.findIndex((tensor) => tensor.dtype === dtype && tensor.data.length === size);
      return at < 0 ? [] : free.splice(at, 1).map(({ data }) => [output, data] as const);
    }),
  );
}

function nextBatch({ samples, values, made }: StreamBatch, { kept }: PlannedGraph, outputs: Values): StreamBatch {
  const next = [...kept].map(([name, output]) => {
    const value = output === "" ? tensorNamed(name, values) : tensorNamed(output, outputs);
    return [name, value] as const;
  });
  const isMade = ([name, output]: readonly [string, string]): boolean => output !== "" || made.has(name);
  return { samples, values: new Map(next), made: new Set([...kept].filter(isMade).map(([name]) => name)) };
}

/** Bytes that a sample takes of these values; sizes that are not known count as 1. */
export function bytesOf(graph: Graph, values: readonly string[]): number {
  return values.reduce((total, value) => {
    const { dtype = "float32", shape = [] } = graph.values.get(value) ?? {};
    const elements = shape.reduce<number>((product, size) => product * (typeof size === "number" ? size : 1), 1);
    return total + (elements * dtypes[dtype].bits) / 8;
  }, 0);
}

/** What the first `count` nodes compute, or the graph is given, for those behind them. */
export function cutAt({ nodes, inputs }: Graph, count: number): readonly string[] {
  const made = new Set([...inputs, ...nodes.slice(0, count).flatMap(({ outputs }) => outputs)]);
  const read = new Set(nodes.slice(count).flatMap((behind) => behind.inputs));
  return [...made].filter((value) => read.has(value));
}
