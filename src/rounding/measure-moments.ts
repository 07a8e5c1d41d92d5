// Sums the second moments of one layer over the batches of a pass.
import { naturalOrder, shuffledOrder } from "../data/sampler.ts";
import type { Executable, Program, Variables } from "../engines/engine.ts";
import type { DType } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { numbersOf, sizeOf, tensor, zeros } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { type Context, signalOf } from "../run/context.ts";
import { compileOptions } from "../run/with-program.ts";
import type { LayerGraph, LayerPass, PassBatch } from "./layer-pass.ts";
import type { MatrixForm } from "./matrix-form.ts";
import type { SecondMoments } from "./moments.ts";
import {
  addConvolutionMoments,
  addProductMoments,
  type PatchPlaces,
  patchesName,
  patchIndices,
  patchPlaces,
  positionsName,
  sumNames,
} from "./sample-moments.ts";

export interface SplitMoments {
  readonly fitted: SecondMoments;
  /** Of batches that nothing is fitted to; the same as `fitted` where there are fewer than eight. */
  readonly heldOut: SecondMoments;
}

/** Of so many batches, the last is held out. */
export const heldOutEvery = 8;

export interface MomentsJob {
  readonly node: Node;
  readonly form: MatrixForm;
  readonly dtype: DType;
  /** How many positions of each sample count, drawn anew for each batch; all where there are fewer. */
  readonly positions: number;
  readonly pass: LayerPass;
}

export async function measureMoments(job: MomentsJob, context: Context): Promise<SplitMoments> {
  const { form, pass } = job;
  const sums = [await sumsOf(job, context), await sumsOf(job, context)];
  const counts = [0, 0];
  const compiled = new Map<number, Compiled>();
  try {
    let index = 0;
    for await (const batch of pass.batches()) {
      const known = compiled.get(batch.samples) ?? (await compile(job, batch.samples, sums, context));
      compiled.set(batch.samples, known);
      const part = Number(index % heldOutEvery === heldOutEvery - 1);
      await addBatch(known, { batch, index, part }, context);
      counts[part] += known.sampling.count;
      index++;
    }
    if (index === 0)
      throw new FrostbitError("BAD_DATA", "Rounding got no samples. Check the data set and roundingSamples.");
    const [fitted, heldOut] = await Promise.all(sums.map((variables, part) => readSums(variables, form, counts[part])));
    return { fitted, heldOut: heldOut.count > 0 ? heldOut : fitted };
  } finally {
    for (const variables of sums) variables.dispose();
    for (const { executable } of compiled.values()) await executable.dispose();
  }
}

function sumsOf({ dtype, form: { groups, rows, columns } }: MomentsJob, { engine }: Context): Promise<Variables> {
  const shapes = [
    [groups, columns, columns],
    [groups, rows, columns],
    [groups, rows],
  ];
  return engine.variables(new Map(sumNames.map((name, i) => [name, zeros(dtype, shapes[i])])));
}

async function readSums(variables: Variables, form: MatrixForm, count: number): Promise<SecondMoments> {
  const [inputs, cross, targets] = await Promise.all(
    sumNames.map(async (name) => Float64Array.from(numbersOf(await variables.read(name)))),
  );
  return { form, count, inputs, cross, targets };
}

/** Which of the positions are drawn. */
interface Sampling {
  /** Of a convolution. */
  readonly places?: PatchPlaces;
  /** Positions to draw from: of a convolution those of one sample, of a product all that a batch has. */
  readonly all: number;
  readonly drawn: number;
  /** What a batch adds to the count. */
  readonly count: number;
}

/** For batches of one size. */
interface Compiled {
  readonly sampling: Sampling;
  readonly executable: Executable;
  /** Over the sums of what is fitted, and of what is held out. */
  readonly programs: readonly Program[];
}

async function compile(
  job: MomentsJob,
  samples: number,
  sums: readonly Variables[],
  context: Context,
): Promise<Compiled> {
  const graph = job.pass.graph(samples);
  const sampling = samplingOf(job, graph);
  const executable = await context.engine.compile(withSums(job, graph, sampling), compileOptions(context));
  return { sampling, executable, programs: sums.map((variables) => executable.bind(variables)) };
}

function samplingOf({ node, form, positions }: MomentsJob, { graph, x, t }: LayerGraph): Sampling {
  const [given, wanted] = [x, t].map((value) => graph.values.get(value)?.shape.map(Number) ?? []);
  if (node.op !== "Conv") {
    const all = sizeOf(given) / form.columns;
    const drawn = Math.min(all, positions * given[0]);
    return { all, drawn, count: drawn };
  }
  const places = patchPlaces(node, given, form.shape, wanted);
  const all = sizeOf(places.output);
  const drawn = Math.min(all, positions);
  return { places, all, drawn, count: drawn * given[0] };
}

function withSums({ node, form }: MomentsJob, { graph, x, t }: LayerGraph, { places, drawn }: Sampling): Graph {
  const build = buildOn(graph);
  if (places) addConvolutionMoments(build, form, places, { x, t }, drawn);
  else addProductMoments(build, node, form, { x, t }, drawn);
  return build.graph(graph.outputs);
}

interface Turn {
  readonly batch: PassBatch;
  readonly index: number;
  readonly part: number;
}

async function addBatch(
  { sampling: { places, all, drawn }, programs }: Compiled,
  { batch: { inputs, spare, take }, index, part }: Turn,
  context: Context,
): Promise<void> {
  const chosen = drawn === all ? naturalOrder(all) : shuffledOrder(all, context.seed, index).slice(0, drawn);
  const fed = new Map([...inputs, [positionsName, tensor("int64", [drawn], BigInt64Array.from(chosen, BigInt))]]);
  if (places) {
    const indices = patchIndices(places, chosen);
    fed.set(patchesName, tensor("int64", [indices.length], indices));
  }
  take(await programs[part].run(fed, { spare, ...signalOf(context) }));
}
