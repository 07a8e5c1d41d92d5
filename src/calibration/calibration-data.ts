// The seeded sample of the training data that ranges and corrections are taken from.
import { batches, type Share } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { shuffledOrder } from "../data/sampler.ts";
import { batchThatFits, fixedBatchOf } from "../evaluate/batch-that-fits.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { QuantizeOptions } from "../quantizers/quantize-options.ts";
import type { Context } from "../run/context.ts";

/** Named input tensors, a batch a time; each call starts over with the same batches, or with those of a part of them. */
export type CalibrationBatches = (part?: Share) => AsyncIterable<ReadonlyMap<string, Tensor>>;

/** The epoch that the sample's order is drawn for: none that trains. */
const calibrationEpoch = -1;

interface Data {
  readonly train: Dataset;
  readonly preprocess: Preprocess;
}

interface Options extends Pick<QuantizeOptions, "calibrationSamples"> {
  /** At most; what the graph runs at once where absent. Given, batches are all of one size, and what does not fill one is left out. */
  readonly batchSize?: number;
}

/** How many samples there are to calibrate with. */
export const calibrationCount = ({ train }: Data, { calibrationSamples }: Options): number =>
  Math.min(calibrationSamples, train.length);

/** The same batches at each call, of a size that this graph runs at once. */
export function calibrationBatches(
  graph: Graph,
  data: Data,
  options: Options,
  { seed }: Pick<Context, "seed">,
): CalibrationBatches {
  const { train, preprocess } = data;
  const order = shuffledOrder(train.length, seed, calibrationEpoch).slice(0, calibrationCount(data, options));
  const { batchSize: most } = options;
  const batchSize = batchThatFits(graph, most);
  const dropLast = most !== undefined || fixedBatchOf(graph) !== undefined;
  return async function* inputs(part) {
    for await (const batch of batches(train, { batchSize, preprocess, order, dropLast, part })) yield batch.inputs;
  };
}
