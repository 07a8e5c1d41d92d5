// Sums the second moments of one layer over the batches of its inputs and targets.
import { naturalOrder, shuffledOrder } from "../data/sampler.ts";
import type { Program, Variables } from "../engines/engine.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { allocate, numbersOf, sizeOf, type Tensor, tensor, zeros } from "../ir/tensor.ts";
import type { LinearLayer } from "../quantizers/linear-layers.ts";
import { type Context, signalOf } from "../run/context.ts";
import { compileOptions } from "../run/with-program.ts";
import type { MatrixForm } from "./matrix-form.ts";
import type { SecondMoments } from "./moments.ts";
import {
  convolutionMoments,
  inputName,
  type PatchPlaces,
  patchesName,
  patchIndices,
  patchPlaces,
  positionsName,
  productMoments,
  sumNames,
  targetName,
} from "./sample-moments.ts";

export interface SplitMoments {
  readonly fitted: SecondMoments;
  /** Of batches that nothing is fitted to; the same as `fitted` where there are fewer than eight. */
  readonly heldOut: SecondMoments;
}

/** Of so many batches, the last is held out. */
export const heldOutEvery = 8;

/**
 * `inputs` enter the layer, `targets` are what it should give for them, batch after batch. `positions`: how many of each sample
 * count, drawn anew for each batch; all where there are fewer.
 */
export async function measureMoments(
  layer: LinearLayer,
  form: MatrixForm,
  inputs: AsyncGenerator<Tensor, void, undefined>,
  targets: AsyncGenerator<Tensor, void, undefined>,
  positions: number,
  context: Context,
): Promise<SplitMoments> {
  const all = pairsOf(inputs, targets);
  const first = await all.next();
  if (first.done)
    throw new FrostbitError("BAD_DATA", "Rounding got no samples. Check the data set and roundingSamples.");
  const sampling = samplingOf(layer, form, first.value, positions);
  const executable = await context.engine.compile(sampling.graph, compileOptions(context));
  const sums = [await sumsOf(sampling, context), await sumsOf(sampling, context)];
  const counts = [0, 0];
  try {
    const programs = sums.map((variables) => executable.bind(variables));
    let next: IteratorResult<LayerBatch, void> = first;
    for (let index = 0; !next.done; index++, next = await all.next()) {
      const part = Number(index % heldOutEvery === heldOutEvery - 1);
      counts[part] += await addBatch(programs[part], sampling, next.value, index, context);
    }
    const [fitted, heldOut] = await Promise.all(sums.map((variables, part) => readSums(variables, form, counts[part])));
    return { fitted, heldOut: heldOut.count > 0 ? heldOut : fitted };
  } finally {
    await all.return();
    for (const variables of sums) variables.dispose();
    await executable.dispose();
  }
}

/** x enters the layer, t is what its product should be. */
interface LayerBatch {
  readonly x: Tensor;
  readonly t: Tensor;
}

async function* pairsOf(
  inputs: AsyncGenerator<Tensor, void, undefined>,
  targets: AsyncGenerator<Tensor, void, undefined>,
): AsyncGenerator<LayerBatch, void, undefined> {
  try {
    for (;;) {
      const [x, t] = [await inputs.next(), await targets.next()];
      assert(x.done === t.done, "one of two streams has more batches");
      if (x.done || t.done) return;
      yield { x: x.value, t: t.value };
    }
  } finally {
    await inputs.return();
    await targets.return();
  }
}

const sumsOf = ({ graph }: Sampling, { engine }: Context): Promise<Variables> =>
  engine.variables(
    new Map(
      graph.variables.map((name) => {
        const { dtype = "float32", shape = [] } = graph.values.get(name) ?? {};
        return [name, zeros(dtype, shape.map(Number))];
      }),
    ),
  );

async function readSums(variables: Variables, form: MatrixForm, count: number): Promise<SecondMoments> {
  const [inputs, cross, targets] = await Promise.all(
    sumNames.map(async (name) => Float64Array.from(numbersOf(await variables.read(name)))),
  );
  return { form, count, inputs, cross, targets };
}

/** The graph for batches of one size, and which of its positions are drawn. */
interface Sampling {
  readonly graph: Graph;
  /** Of a convolution. */
  readonly places?: PatchPlaces;
  /** Positions to draw from: of a convolution those of one sample, of a product all that a batch has. */
  readonly all: number;
  readonly drawn: number;
}

function samplingOf({ node }: LinearLayer, form: MatrixForm, batch: LayerBatch, positions: number): Sampling {
  const { x, t } = batch;
  if (node.op !== "Conv") {
    const all = x.data.length / form.columns;
    const drawn = Math.min(all, positions * x.shape[0]);
    return { graph: productMoments(node, form, batch, drawn), all, drawn };
  }
  const places = patchPlaces(node, x.shape, form.shape, t.shape);
  const all = sizeOf(places.output);
  const drawn = Math.min(all, positions);
  return { graph: convolutionMoments(form, places, batch, drawn), places, all, drawn };
}

/** Gives how many positions it added. */
async function addBatch(
  program: Program,
  { graph, places, all, drawn }: Sampling,
  { x, t }: LayerBatch,
  index: number,
  context: Context,
): Promise<number> {
  const [full = 0] = graph.values.get(inputName)?.shape.map(Number) ?? [];
  const chosen = drawn === all ? naturalOrder(all) : shuffledOrder(all, context.seed, index).slice(0, drawn);
  const inputs = new Map([
    [inputName, withRows(x, full)],
    [targetName, withRows(t, full)],
    [positionsName, tensor("int64", [drawn], BigInt64Array.from(chosen, BigInt))],
  ]);
  if (places) {
    const indices = patchIndices(places, chosen);
    inputs.set(patchesName, tensor("int64", [indices.length], indices));
  }
  await program.run(inputs, signalOf(context));
  const real = (all * x.shape[0]) / full;
  return places ? drawn * x.shape[0] : chosen.filter((row) => row < real).length;
}

/** A last batch that is not full is filled up with zeros, which add nothing. */
function withRows(source: Tensor, count: number): Tensor {
  if (source.shape[0] === count) return source;
  const shape = [count, ...source.shape.slice(1)];
  const data = allocate(source.dtype, sizeOf(shape));
  data.set(source.data as never);
  return tensor(source.dtype, shape, data);
}
