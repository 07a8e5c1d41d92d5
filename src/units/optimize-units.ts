// Walks the units of a network in order, with what enters and leaves each in the float model and in the quantized one.

import type { Program } from "../engines/engine.ts";
import type { TypedArray } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { type Context, signalOf } from "../run/context.ts";
import { arraysOf, compileOptions, trainingOptions, withProgram } from "../run/with-program.ts";
import type { ActivationCache, SpareArrays } from "./activation-cache.ts";
import { cutUnit } from "./cut-unit.ts";
import { type SampleLayout, sampleLayouts, samplesComeFirst, toBatch, toSamples } from "./sample-layout.ts";
import type { Unit } from "./units.ts";

/** What the units before one compute: "float": in the float model; "quantized": as they are quantized by then. */
type StreamName = "float" | "quantized";

/** The batch of each of a unit's inputs, of which the first `count` samples are meant. */
export interface SomeSamples {
  readonly values: ReadonlyMap<string, Tensor>;
  readonly count: number;
}

export interface UnitsJob {
  readonly units: readonly Unit[];
  readonly float: Graph;
  /** The same graph with quantizers. */
  readonly quantized: Graph;
  /** The inputs of the graph by name, samples along the first axis. */
  readonly batches: AsyncIterable<ReadonlyMap<string, Tensor>>;
  /** Empty; what is in it afterwards is of no use. */
  readonly cache: ActivationCache;
  /** Samples in which units run to fill the cache. */
  readonly batchSize: number;
  /** Computed as training steps are, not in float32. */
  readonly isAsTrained?: boolean;
}

/** A unit whose turn it is, and what it is optimized by. */
export interface UnitData {
  readonly unit: Unit;
  /** Where the unit is among the units, from 0. */
  readonly index: number;
  /** The whole quantized model, the units before this one as they were optimized. */
  readonly quantized: Graph;
  /** Constants that no unit before reads: those that this unit may change. */
  readonly own: ReadonlySet<string>;
  readonly samples: number;
  /** Its inputs that are the same in both streams: those of the graph. */
  readonly same: readonly string[];
  /** Whether batches of any size of the unit's inputs and outputs take no memory: their samples are read where they lie. */
  readonly isInPlace: boolean;
  /** Of samples, in any order, the batch of each of the unit's inputs. */
  inputs(stream: StreamName, samples: ArrayLike<number>, spare?: SpareArrays): Promise<ReadonlyMap<string, Tensor>>;
  /** Of samples, in any order, what the float unit on the float stream gives: the unit's outputs. */
  outputs(samples: ArrayLike<number>, spare?: SpareArrays): Promise<ReadonlyMap<string, Tensor>>;
  /** The same of values of either stream that units before this one gave and units behind it read, and of the graph's inputs. */
  values(
    stream: StreamName,
    names: readonly string[],
    samples: ArrayLike<number>,
  ): Promise<ReadonlyMap<string, Tensor>>;
  /**
   * The same with these inputs in place of the float stream's, as many samples from the first on as are given, and with what the float
   * unit gives for them as its outputs.
   */
  withFloatInputs(batches: AsyncIterable<SomeSamples>, context: Context): Promise<UnitData>;
}

/**
 * Calls `optimize` for each unit in turn; it gives the whole quantized model back, the unit's own constants changed. The next unit
 * has as its quantized inputs what the units before it give with these. Gives the model after the last unit.
 */
export async function optimizeUnits(
  job: UnitsJob,
  optimize: (data: UnitData) => Promise<Graph>,
  context: Context,
): Promise<Graph> {
  const { units, float, cache, batchSize } = job;
  const values = new Set(units.flatMap(({ inputs, outputs }) => [...inputs, ...outputs]));
  const streams: Streams = { job, layouts: sampleLayouts(float, values), samples: 0 };
  await fillInputs(streams);
  const own = ownConstants(job);
  let { quantized } = job;
  const sized = setBatchSize(float, batchSize);
  for (const [index, unit] of units.entries()) {
    await runUnit(streams, sized, unit, "float", context);
    quantized = await optimize(dataOf(streams, quantized, index, own[index]));
    if (index < units.length - 1)
      await runUnit(streams, setBatchSize(quantized, batchSize), unit, "quantized", context);
    for (const value of [...unit.inputs, ...unit.outputs]) await cache.drop(keyOf(job, "moved", value));
    for (const value of lastReadBy(units, index))
      for (const stream of ["float", "quantized"] as const) await cache.drop(keyOf(job, stream, value));
  }
  return quantized;
}

/** moved: what takes the place of the float stream for one unit. */
type CachedStream = StreamName | "moved";

interface Streams {
  readonly job: UnitsJob;
  readonly layouts: ReadonlyMap<string, SampleLayout>;
  samples: number;
}

/** Inputs of the graph are the same in both streams. */
const keyOf = ({ float }: UnitsJob, stream: CachedStream, value: string): string =>
  stream !== "moved" && float.inputs.includes(value) ? `input ${value}` : `${stream} ${value}`;

const layoutOf = ({ layouts }: Streams, value: string): SampleLayout => {
  const layout = layouts.get(value);
  assert(layout, `the layout of "${value}" is not known`);
  return layout;
};

async function fillInputs(streams: Streams): Promise<void> {
  const { job, layouts } = streams;
  for await (const batch of job.batches) {
    let count = 0;
    for (const [input, value] of batch) {
      count = value.shape[0];
      const layout = layouts.get(input);
      if (layout) await job.cache.append(keyOf(job, "float", input), toSamples(value, layout));
    }
    streams.samples += count;
  }
}

async function readValue(
  streams: Streams,
  stream: CachedStream,
  value: string,
  samples: ArrayLike<number>,
  spare?: SpareArrays,
): Promise<Tensor> {
  const read = await streams.job.cache.read(keyOf(streams.job, stream, value), samples, spare);
  return toBatch(read, layoutOf(streams, value));
}

async function readValues(
  streams: Streams,
  stream: CachedStream,
  values: readonly string[],
  samples: ArrayLike<number>,
  spare?: SpareArrays,
): Promise<ReadonlyMap<string, Tensor>> {
  const result = new Map<string, Tensor>();
  for (const value of values) result.set(value, await readValue(streams, stream, value, samples, spare));
  return result;
}

/** Runs a unit of `graph`, which has the walk's batch size, on what is in its stream, and adds what it gives. A last batch is filled. */
async function runUnit(
  streams: Streams,
  graph: Graph,
  unit: Unit,
  stream: CachedStream,
  context: Context,
): Promise<void> {
  const { job, samples } = streams;
  const options = job.isAsTrained ? trainingOptions(context) : compileOptions(context);
  const countFrom = (start: number): number => Math.min(job.batchSize, samples - start);
  const keep = async (targets: ReadonlyMap<string, Tensor>, count: number): Promise<void> => {
    for (const output of unit.outputs) {
      const value = targets.get(output);
      assert(value, `unit "${unit.name}" gives no "${output}"`);
      await job.cache.append(keyOf(job, stream, output), toSamples(value, layoutOf(streams, output)), count);
    }
  };
  const run = async (program: Program): Promise<void> => {
    const given: SpareArrays = new Map();
    const runFrom = async (
      start: number,
      spare: ReadonlyMap<string, TypedArray>,
    ): Promise<ReadonlyMap<string, Tensor>> => {
      const indices = Array.from({ length: job.batchSize }, (_, i) => start + Math.min(i, countFrom(start) - 1));
      return program.run(await readValues(streams, stream, unit.inputs, indices, given), {
        ...signalOf(context),
        spare,
      });
    };
    let spare: ReadonlyMap<string, TypedArray> = new Map();
    let next: Promise<ReadonlyMap<string, Tensor>> | undefined = runFrom(0, spare);
    try {
      for (let start = 0; next; start += job.batchSize) {
        const targets: ReadonlyMap<string, Tensor> = await next;
        // The engine works on the next batch, into what the one before gave, while this one's results are kept.
        next = start + job.batchSize < samples ? runFrom(start + job.batchSize, spare) : undefined;
        const count = countFrom(start);
        await keep(targets, count);
        spare = arraysOf(targets);
        context.onProgress?.({
          phase: `${stream} activations of ${unit.name}`,
          done: start + count,
          total: samples,
        });
      }
    } finally {
      await next?.catch(() => undefined);
    }
  };
  await withProgram(cutUnit(graph, unit.inputs, unit.outputs), context, run, { ...options, keepsChannelsLast: true });
}

/** By unit, the constants that it is the first to read: two units may share a weight or a quantizer. */
function ownConstants({ units, quantized, batchSize }: UnitsJob): readonly ReadonlySet<string>[] {
  const sized = setBatchSize(quantized, batchSize);
  const read = new Set<string>();
  return units.map(({ inputs, outputs }) => {
    const constants = [...cutUnit(sized, inputs, outputs).constants.keys()].filter((name) => !read.has(name));
    for (const name of constants) read.add(name);
    return new Set(constants);
  });
}

function dataOf(
  streams: Streams,
  quantized: Graph,
  index: number,
  own: ReadonlySet<string>,
  float: "float" | "moved" = "float",
): UnitData {
  const { job } = streams;
  const unit = job.units[index];
  return {
    unit,
    index,
    quantized,
    own,
    samples: streams.samples,
    same: float === "moved" ? [] : unit.inputs.filter((input) => job.float.inputs.includes(input)),
    get isInPlace() {
      const inputs = (["quantized", float] as const).map((stream) => [stream, unit.inputs] as const);
      return [...inputs, [float, unit.outputs] as const].every(([stream, values]) =>
        values.every(
          (value) => samplesComeFirst(layoutOf(streams, value)) && job.cache.isInPlace(keyOf(job, stream, value)),
        ),
      );
    },
    inputs: (stream, samples, spare) =>
      readValues(streams, stream === "float" ? float : stream, unit.inputs, samples, spare),
    outputs: (samples, spare) => readValues(streams, float, unit.outputs, samples, spare),
    values: (stream, names, samples) => readValues(streams, stream, names, samples),
    withFloatInputs: async (batches, context) => {
      const moved = { ...streams, samples: await fillMoved(streams, batches) };
      await runUnit(moved, setBatchSize(job.float, job.batchSize), unit, "moved", context);
      return dataOf(moved, quantized, index, own, "moved");
    },
  };
}

/** Gives how many samples there are. */
async function fillMoved(streams: Streams, batches: AsyncIterable<SomeSamples>): Promise<number> {
  let samples = 0;
  for await (const { values, count } of batches) {
    for (const [input, value] of values) {
      const key = keyOf(streams.job, "moved", input);
      await streams.job.cache.append(key, toSamples(value, layoutOf(streams, input)), count);
    }
    samples += count;
  }
  return samples;
}

/** Values that no unit after it reads. */
function lastReadBy(units: readonly Unit[], index: number): readonly string[] {
  const later = new Set(units.slice(index + 1).flatMap(({ inputs }) => inputs));
  const { inputs, outputs } = units[index];
  return [...inputs, ...outputs].filter((value) => !later.has(value));
}
