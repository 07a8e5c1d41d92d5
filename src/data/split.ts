// Holds out a part of a dataset that has no test split.
import { FrostbitError } from "../ir/errors.ts";
import { type Dataset, subset } from "./dataset.ts";
import { shuffledOrder } from "./sampler.ts";

/** Counts as an epoch that no run reaches, so that the split differs from every epoch's order. */
const splitEpoch = 0x7fffffff;

/** A seeded share of the samples, by default a tenth, becomes the test set. Both parts keep the dataset's order. */
export function holdOut(dataset: Dataset, seed: number, share = 0.1): { train: Dataset; test: Dataset } {
  const count = Math.round(dataset.length * share);
  if (count === 0 || count === dataset.length) {
    throw new FrostbitError(
      "BAD_DATA",
      `Dataset "${dataset.name}" has ${dataset.length} samples, too few to hold out a share of ${share} for testing. Give separate test data.`,
    );
  }
  const order = shuffledOrder(dataset.length, seed, splitEpoch);
  return {
    train: subset(dataset, order.slice(count).sort()),
    test: subset(dataset, order.slice(0, count).sort(), `${dataset.name} (held out)`),
  };
}
