// The seeded sample of the training data that ranges and corrections are taken from.
import { type Augmentation, augmentations } from "../data/augment.ts";
import { type BatchOptions, batchCount, batches, partOf, type Share } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { lengthsToCut, longFirst } from "../data/lengths.ts";
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
  /** Whether batches are of samples of similar length, and no longer than these, for a graph that leaves their length open. */
  readonly byLength?: boolean;
  /** At most; what the graph runs at once where absent. Given, batches are all of one size, and what does not fill one is left out. */
  readonly batchSize?: number;
  /** Absent: all images are as they are. Takes a batch size. */
  readonly changed?: ChangedImages;
}

/** Images that are changed at random, as if there were more of them. */
export interface ChangedImages {
  readonly operations: readonly Augmentation[];
  /** How many times each is there, each time changed otherwise: all of them once, then all of them again. */
  readonly copies: number;
  /** How many at the end are there once, as they are; whole batches of them. */
  readonly unchanged: number;
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
  const { batchSize: most, changed, byLength = false } = options;
  const batchSize = batchThatFits(graph, most);
  const dropLast = most !== undefined || fixedBatchOf(graph) !== undefined;
  const lengths = byLength ? lengthsToCut(train) : undefined;
  const sorted = lengths ? longFirst(order, lengths) : order;
  const lists = changed ? changedParts(order, batchSize, changed, seed) : [{ order: sorted }];
  const counts = lists.map((list) => batchCount(list.order.length, batchSize, dropLast));
  return async function* inputs(part) {
    const [first, end] = partOf(
      counts.reduce((sum, count) => sum + count, 0),
      part,
    );
    let before = 0;
    for (const [i, list] of lists.entries()) {
      const [from, to] = [first, end].map((batch) => batchSize * Math.max(0, batch - before));
      const own = { ...list, order: list.order.slice(from, to) };
      for await (const batch of batches(train, { batchSize, preprocess, byLength, dropLast, ...own }))
        yield batch.inputs;
      before += counts[i];
    }
  };
}

/** What happens to a sample in a copy follows from the seed, the copy and the sample. */
function changedParts(
  order: Int32Array,
  batchSize: number,
  { operations, copies, unchanged }: ChangedImages,
  seed: number,
): readonly (Pick<BatchOptions, "augment"> & { readonly order: Int32Array })[] {
  const end = Math.floor(order.length / batchSize) * batchSize;
  const [first, last] = [order.slice(0, end - unchanged), order.slice(end - unchanged, end)];
  const changes = augmentations.filter((name) => operations.includes(name));
  return [
    ...Array.from({ length: copies }, (_, epoch) => ({ order: first, augment: { operations: changes, seed, epoch } })),
    { order: last },
  ];
}
