// Sums the second moments of one layer over the batches of its inputs and targets.
import { shuffledOrder } from "../../data/sampler.ts";
import type { Program } from "../../engines/engine.ts";
import { FrostbitError } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { allocate, numbersOf, sizeOf, type Tensor, tensor, zeros } from "../../ir/tensor.ts";
import type { LinearLayer } from "../../quantizers/linear-layers.ts";
import { type Context, signalOf } from "../../run/context.ts";
import { withProgram } from "../../run/with-program.ts";
import type { MatrixForm } from "./matrix-form.ts";
import { addMoments, noMoments, type SecondMoments } from "./moments.ts";
import {
  convolutionMoments,
  inputName,
  type PatchPlaces,
  patchesName,
  patchIndices,
  patchPlaces,
  positionsName,
  productMoments,
  targetName,
} from "./sample-moments.ts";

/** What enters a layer in the quantized graph, and what the layer should give for it. */
export interface LayerBatch {
  readonly x: Tensor;
  readonly t: Tensor;
}

export interface SplitMoments {
  readonly fitted: SecondMoments;
  /** Of batches that nothing is fitted to; the same as `fitted` where there are fewer than eight. */
  readonly heldOut: SecondMoments;
}

/** Of so many batches, the last is held out. */
const heldOutEvery = 8;

/** `positions`: how many of each sample count, drawn anew for each batch; all where there are fewer. */
export async function measureMoments(
  layer: LinearLayer,
  form: MatrixForm,
  batches: AsyncIterator<LayerBatch, void>,
  positions: number,
  context: Context,
): Promise<SplitMoments> {
  const fitted = noMoments(form);
  const heldOut = noMoments(form);
  let next = await batches.next();
  if (next.done)
    throw new FrostbitError("BAD_DATA", "Rounding got no samples. Check the data set and calibrationSamples.");
  const sampling = samplingOf(layer, form, next.value, positions);
  await withProgram(sampling.graph, context, async (program) => {
    for (let index = 0; !next.done; index++, next = await batches.next()) {
      const isHeldOut = index % heldOutEvery === heldOutEvery - 1;
      await addBatch(isHeldOut ? heldOut : fitted, sampling, next.value, program, index, context);
    }
  });
  return { fitted, heldOut: heldOut.count > 0 ? heldOut : fitted };
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

async function addBatch(
  moments: SecondMoments,
  { graph, places, all, drawn }: Sampling,
  { x, t }: LayerBatch,
  program: Program,
  index: number,
  context: Context,
): Promise<void> {
  const [full = 0] = graph.values.get(inputName)?.shape.map(Number) ?? [];
  const chosen =
    drawn === all
      ? Int32Array.from({ length: all }, (_, i) => i)
      : shuffledOrder(all, context.seed, index).slice(0, drawn);
  const inputs = new Map([
    [inputName, withRows(x, full)],
    [targetName, withRows(t, full)],
    [positionsName, tensor("int64", [drawn], BigInt64Array.from(chosen, BigInt))],
  ]);
  if (places) {
    const indices = patchIndices(places, chosen);
    inputs.set(patchesName, tensor("int64", [indices.length], indices));
  }
  const found = await program.run(inputs, signalOf(context));
  const sums = graph.outputs.map((output) => numbersOf(found.get(output) ?? zeros("float32", [0])));
  const real = (all * x.shape[0]) / full;
  const count = places ? drawn * x.shape[0] : chosen.filter((row) => row < real).length;
  addMoments(moments, count, sums[0], sums[1], sums[2]);
}

/** A last batch that is not full is filled up with zeros, which add nothing. */
function withRows(source: Tensor, count: number): Tensor {
  if (source.shape[0] === count) return source;
  const shape = [count, ...source.shape.slice(1)];
  const data = allocate(source.dtype, sizeOf(shape));
  data.set(source.data as never);
  return tensor(source.dtype, shape, data);
}
