// What enters linear layers, channel by channel: its mean square and its largest magnitude.
import { startCounting } from "../distributed/tally.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor } from "../ir/tensor.ts";
import { groupOf } from "../ops/convolution-shape.ts";
import { buildOn } from "../ops/infer.ts";
import { isMatrixProduct } from "../ops/linear.ts";
import type { LinearLayer } from "../quantizers/linear-layers.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";
import type { CalibrationBatches } from "./calibration-data.ts";

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

/** Of what enters these layers, over all samples; several processes share the batches. */
export async function observeInputChannels(
  graph: Graph,
  layers: readonly LinearLayer[],
  batches: CalibrationBatches,
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
  const counting = startCounting(context.communicator);
  await withProgram(build.graph(reduced.flatMap(({ mean, most }) => [mean, most])), context, async (program) => {
    for await (const batch of batches(context.communicator)) {
      const found = await program.run(batch, signalOf(context));
      const count = batch.values().next().value?.shape[0] ?? 1;
      const of = (name: string): ArrayLike<number> => numbersOf(resultOf(found, name));
      counting.add({
        sums: [[count], ...reduced.map(({ mean }) => Array.from(of(mean), (value) => value * count))],
        lists: reduced.map(({ most }) => Array.from(of(most))),
      });
    }
  });
  const counted = await counting.end();
  assert(counted, "there were no samples");
  const [[samples], ...squares] = counted.sums.map((sum) => Array.from(sum));
  return new Map(
    reduced.map(({ key }, i) => {
      const meanSquare = Float64Array.from(squares[i], (sum) => sum / samples);
      return [key, { meanSquare, largest: largestOf(counted.lists[i], meanSquare.length) }] as const;
    }),
  );
}

/** Of squares of batch after batch, each of so many channels: the largest magnitude by channel. */
function largestOf(squares: ArrayLike<number>, channels: number): Float64Array {
  const largest = new Float64Array(channels);
  for (let i = 0; i < squares.length; i++)
    largest[i % channels] = Math.max(largest[i % channels], Math.sqrt(squares[i]));
  return largest;
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
