// Sums the second moments of one layer over the batches of a pass.
import { partOf } from "../data/batches.ts";
import { naturalOrder, shuffledOrder } from "../data/sampler.ts";
import type { Communicator } from "../distributed/communicator.ts";
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

/** What the batches are cut into, the last part of them held out: sums of parts are added in a binary tree, whoever computes them. */
export const momentParts = 8;

export interface MomentsJob {
  readonly node: Node;
  readonly form: MatrixForm;
  readonly dtype: DType;
  /** How many positions of each sample count, drawn anew for each batch; all where there are fewer. */
  readonly positions: number;
  readonly pass: LayerPass;
}

/** Several processes share the parts, and have the same sums, those of one. */
export async function measureMoments(job: MomentsJob, context: Context): Promise<SplitMoments> {
  const { communicator } = context;
  const own = await sumsOfParts(job, partOf(momentParts, communicator), context);
  const fitted = await ofAll(own.fitted, job, communicator);
  const heldOut = await ofAll(own.heldOut, job, communicator);
  if (fitted.count === 0)
    throw new FrostbitError("BAD_DATA", "Rounding got no samples. Check the data set and roundingSamples.");
  return { fitted, heldOut: heldOut.count > 0 ? heldOut : fitted };
}

/** A, C and Σ t² of so many samples. */
interface Sums {
  readonly count: number;
  readonly arrays: readonly (Float32Array | Float64Array)[];
}

/** Of the parts from `first` to before `end`; `undefined` where no batch is in them. */
async function sumsOfParts(
  job: MomentsJob,
  [first, end]: readonly [number, number],
  context: Context,
): Promise<Readonly<Record<keyof SplitMoments, Sums | undefined>>> {
  const zero = zeroSums(job);
  const variables = await context.engine.variables(zero);
  const compiled = new Map<number, Compiled>();
  const sumsOf = async (part: number): Promise<Sums | undefined> => {
    for (const [name, value] of zero) await variables.write(name, value);
    let [index, count] = [0, 0];
    for await (const batch of job.pass.batches({ rank: part, size: momentParts })) {
      const known = compiled.get(batch.samples) ?? (await compile(job, batch.samples, variables, context));
      compiled.set(batch.samples, known);
      await addBatch(known, batch, part * mostBatches + index, context);
      count += known.sampling.count;
      index++;
    }
    return index === 0 ? undefined : { count, arrays: await readArrays(variables) };
  };
  const heldOut = momentParts - 1;
  try {
    return {
      fitted: await treeOf(first, end, async (part) => (part === heldOut ? undefined : sumsOf(part))),
      heldOut: first <= heldOut && heldOut < end ? await sumsOf(heldOut) : undefined,
    };
  } finally {
    variables.dispose();
    for (const { executable } of compiled.values()) await executable.dispose();
  }
}

/** Of a part: what draws positions counts on from there in the next one. */
const mostBatches = 2 ** 20;

/** Of two neighbours, then of two such pairs, and so on. */
async function treeOf(
  first: number,
  end: number,
  sumsOf: (part: number) => Promise<Sums | undefined>,
): Promise<Sums | undefined> {
  if (first === end) return undefined;
  if (end - first === 1) return sumsOf(first);
  const middle = (first + end) / 2;
  const low = await treeOf(first, middle, sumsOf);
  const high = await treeOf(middle, end, sumsOf);
  return low && high ? added(low, high) : (low ?? high);
}

/** Written into the first. */
function added(low: Sums, high: Sums): Sums {
  for (const [i, sums] of low.arrays.entries()) {
    const others = high.arrays[i];
    for (let at = 0; at < sums.length; at++) sums[at] += others[at];
  }
  return { ...low, count: low.count + high.count };
}

/** Of all processes. */
async function ofAll(
  own: Sums | undefined,
  job: MomentsJob,
  communicator: Communicator | undefined,
): Promise<SecondMoments> {
  const { count, arrays } = own ?? { count: 0, arrays: [...zeroSums(job).values()].map(floatsOf) };
  const counts = Float64Array.of(count);
  for (const values of [counts, ...arrays]) await communicator?.sum(values);
  const [inputs, cross, targets] = arrays.map((values) => Float64Array.from(values));
  return { form: job.form, count: counts[0], inputs, cross, targets };
}

function zeroSums({ dtype, form: { groups, rows, columns } }: MomentsJob): ReadonlyMap<string, Tensor> {
  const shapes = [
    [groups, columns, columns],
    [groups, rows, columns],
    [groups, rows],
  ];
  return new Map(sumNames.map((name, i) => [name, zeros(dtype, shapes[i])]));
}

const readArrays = (variables: Variables): Promise<readonly (Float32Array | Float64Array)[]> =>
  Promise.all(sumNames.map(async (name) => floatsOf(await variables.read(name))));

function floatsOf({ dtype, data }: Tensor): Float32Array | Float64Array {
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
