// Sums the second moments of one layer over the batches of a pass.
import type { Share } from "../data/batches.ts";
import { naturalOrder, shuffledOrder } from "../data/sampler.ts";
import type { Floats } from "../distributed/communicator.ts";
import { sumOfParts, sumParts } from "../distributed/sum-of-parts.ts";
import type { Executable, Program, Variables } from "../engines/engine.ts";
import type { DType } from "../ir/dtype.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { sizeOf, type Tensor, tensor, zeros } from "../ir/tensor.ts";
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

export interface MomentsJob {
  readonly node: Node;
  readonly form: MatrixForm;
  readonly dtype: DType;
  /** How many positions of each sample count, drawn anew for each batch; all where there are fewer. */
  readonly positions: number;
  readonly pass: LayerPass;
}

/** Of the parts of the batches, the last is held out. Several processes share them, and have the same sums, those of one. */
export async function measureMoments(job: MomentsJob, context: Context): Promise<SplitMoments> {
  const { engine, communicator } = context;
  const variables = await engine.variables(zeroSums(job));
  const compiled = new Map<number, Compiled>();
  const sumsOf = (parts: (part: Share) => boolean): Promise<readonly Floats[]> => {
    const ofPart = async (part: Share): Promise<readonly Floats[] | undefined> =>
      parts(part) ? sumsOfPart(job, part, { variables, compiled }, context) : undefined;
    return sumOfParts(
      { ofPart, zero: () => [new Float64Array(1), ...[...zeroSums(job).values()].map(floatsOf)] },
      communicator,
    );
  };
  const isHeldOut = ({ rank }: Share): boolean => rank === sumParts - 1;
  try {
    const fitted = momentsOf(job, await sumsOf((part) => !isHeldOut(part)));
    const heldOut = momentsOf(job, await sumsOf(isHeldOut));
    if (fitted.count === 0)
      throw new FrostbitError("BAD_DATA", "Rounding got no samples. Check the data set and roundingSamples.");
    return { fitted, heldOut: heldOut.count > 0 ? heldOut : fitted };
  } finally {
    variables.dispose();
    for (const { executable } of compiled.values()) await executable.dispose();
  }
}

/** Of a part: what draws positions counts on from there in the next one. */
const mostBatches = 2 ** 20;

interface Summing {
  readonly variables: Variables;
  /** By samples of a batch. */
  readonly compiled: Map<number, Compiled>;
}

/** How many samples there are, A, C and Σ t²; `undefined` where no batch is in the part. */
async function sumsOfPart(
  job: MomentsJob,
  part: Share,
  { variables, compiled }: Summing,
  context: Context,
): Promise<readonly Floats[] | undefined> {
  for (const [name, value] of zeroSums(job)) await variables.write(name, value);
  let [index, count] = [0, 0];
  for await (const batch of job.pass.batches(part)) {
    const known = compiled.get(batch.samples) ?? (await compile(job, batch.samples, variables, context));
    compiled.set(batch.samples, known);
    await addBatch(known, batch, part.rank * mostBatches + index, context);
    count += known.sampling.count;
    index++;
  }
  if (index === 0) return undefined;
  const sums = sumNames.map(async (name) => floatsOf(await variables.read(name)));
  return [Float64Array.of(count), ...(await Promise.all(sums))];
}

function momentsOf({ form }: MomentsJob, [[count], ...sums]: readonly Floats[]): SecondMoments {
  const [inputs, cross, targets] = sums.map((values) => Float64Array.from(values));
  return { form, count, inputs, cross, targets };
}

function zeroSums({ dtype, form: { groups, rows, columns } }: MomentsJob): ReadonlyMap<string, Tensor> {
  const shapes = [
    [groups, columns, columns],
    [groups, rows, columns],
    [groups, rows],
  ];
  return new Map(sumNames.map((name, i) => [name, zeros(dtype, shapes[i])]));
}

function floatsOf({ dtype, data }: Tensor): Floats {
  assert(data instanceof Float32Array || data instanceof Float64Array, `moments are summed in ${dtype}`);
  return data;
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
  readonly program: Program;
}

async function compile(job: MomentsJob, samples: number, sums: Variables, context: Context): Promise<Compiled> {
  const graph = job.pass.graph(samples);
  const sampling = samplingOf(job, graph);
  const executable = await context.engine.compile(withSums(job, graph, sampling), compileOptions(context));
  return { sampling, executable, program: executable.bind(sums) };
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

/** `turn`: another one for each batch. */
async function addBatch(
  { sampling: { places, all, drawn }, program }: Compiled,
  { inputs, spare, take }: PassBatch,
  turn: number,
  context: Context,
): Promise<void> {
  const chosen = drawn === all ? naturalOrder(all) : shuffledOrder(all, context.seed, turn).slice(0, drawn);
  const fed = new Map([...inputs, [positionsName, tensor("int64", [drawn], BigInt64Array.from(chosen, BigInt))]]);
  if (places) {
    const indices = patchIndices(places, chosen);
    fed.set(patchesName, tensor("int64", [indices.length], indices));
  }
  take(await program.run(fed, { spare, ...signalOf(context) }));
}
