// What enters linear layers, channel by channel: its mean square and its largest magnitude.
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor } from "../ir/tensor.ts";
import { groupOf } from "../ops/convolution-shape.ts";
import { buildOn } from "../ops/infer.ts";
import { isMatrixProduct } from "../ops/linear.ts";
import type { LinearLayer } from "../quantizers/linear-layers.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";

/** Of a value that enters a layer, by channel. */
export interface InputChannels {
  readonly meanSquare: Float64Array;
  readonly largest: Float64Array;
}

type Observed = ReadonlyMap<string, InputChannels>;

/** Which channels a layer multiplies by its weight: those of a matrix product are the last axis. */
const keyOf = ({ input, node }: LinearLayer): string => `${isMatrixProduct(node) ? "last" : "second"}\n${input}`;

export function channelsOf(observed: Observed, layer: LinearLayer): InputChannels {
  const found = observed.get(keyOf(layer));
  assert(found, `nothing was observed of "${layer.input}"`);
  return found;
}

/** Of what enters these layers, over all samples. */
export async function observeInputChannels(
  graph: Graph,
  layers: readonly LinearLayer[],
  batches: () => AsyncIterable<ReadonlyMap<string, Tensor>>,
  context: Context,
): Promise<Observed> {
  const build = buildOn(graph);
  const inputs = new Map(layers.map((layer) => [keyOf(layer), layer]));
  const reduced = [...inputs].map(([key, { input, node }]) => {
    const rank = build.type(input).shape.length;
    const axis = isMatrixProduct(node) ? rank - 1 : 1;
    const others = build.ints(Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis));
    const square = build.node("Mul", [input, input]);
    return {
      key,
      mean: build.node("ReduceMean", [square, others], { keepdims: 0 }),
      most: build.node("ReduceMax", [square, others], { keepdims: 0 }),
    };
  });
  const sums = new Map<string, { meanSquare: Float64Array; largest: Float64Array }>();
  let samples = 0;
  await withProgram(build.graph(reduced.flatMap(({ mean, most }) => [mean, most])), context, async (program) => {
    for await (const batch of batches()) {
      const found = await program.run(batch, signalOf(context));
      const count = batch.values().next().value?.shape[0] ?? 1;
      samples += count;
      for (const { key, mean, most } of reduced) {
        const [means, mosts] = [mean, most].map((name) => numbersOf(resultOf(found, name)));
        const known = sums.get(key) ?? {
          meanSquare: new Float64Array(means.length),
          largest: new Float64Array(means.length),
        };
        for (let i = 0; i < means.length; i++) {
          known.meanSquare[i] += means[i] * count;
          known.largest[i] = Math.max(known.largest[i], Math.sqrt(mosts[i]));
        }
        sums.set(key, known);
      }
    }
  });
  for (const { meanSquare } of sums.values()) for (let i = 0; i < meanSquare.length; i++) meanSquare[i] /= samples;
  return sums;
}

function resultOf(values: ReadonlyMap<string, Tensor>, name: string): Tensor {
  const value = values.get(name);
  assert(value, `calibration output "${name}" is missing`);
  return value;
}

/** What belongs to a layer's input channels, for each element of its weight. */
export function byElement(
  { node, rowAxis, inputAxis }: LinearLayer,
  shape: readonly number[],
  channels: ArrayLike<number>,
): Float64Array {
  const groups = isMatrixProduct(node) ? 1 : groupOf(node);
  const strideOf = (axis: number): number => sizeOf(shape.slice(axis + 1));
  const indexOf = (i: number, axis: number): number => Math.floor(i / strideOf(axis)) % shape[axis];
  const isTransposed = node.op === "ConvTranspose";
  return Float64Array.from({ length: sizeOf(shape) }, (_, i) => {
    if (isTransposed) return channels[indexOf(i, 0)];
    const group = Math.floor((indexOf(i, rowAxis) * groups) / shape[rowAxis]);
    return channels[indexOf(i, inputAxis) + group * shape[inputAxis]];
  });
}
