// Top-1 accuracy and loss of class scores.
import type { Batch } from "../data/batches.ts";
import { type Dataset, sampleOf } from "../data/dataset.ts";
import { FrostbitError } from "../ir/errors.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";

/** Counts what a run of batches got right. */
export interface Score {
  samples: number;
  correct: number;
  /** Sum over the samples of −log p(label). */
  lossSum: number;
  readonly labels: Set<number>;
}

export const emptyScore = (): Score => ({ samples: 0, correct: 0, lossSum: 0, labels: new Set() });

/** Index of the largest of `count` values from `start`; the first of equals. */
export function argmax(values: ArrayLike<number>, start: number, count: number): number {
  let best = start;
  for (let i = start + 1; i < start + count; i++) if (values[i] > values[best]) best = i;
  return best - start;
}

/** Throws BAD_DATA naming the first label of a dataset's batch that is outside the model's classes. */
export function checkLabels({ labels, indices }: Batch, dataset: Dataset, classes: number): void {
  const bad = labels?.data.findIndex((label) => !(Number(label) >= 0 && Number(label) < classes)) ?? -1;
  if (bad >= 0)
    throw new FrostbitError(
      "BAD_DATA",
      `Label ${labels?.data[bad]} (sample ${sampleOf(dataset, indices[bad])} of "${dataset.name}") is outside the model's classes 0 to ${classes - 1}. Check the labels, or whether the model fits the data.`,
    );
}

/** The smallest float32 above 0: a probability that rounds to 0 does not prove that the class is impossible. */
const minProbability = 2 ** -149;

/** Adds scores of shape [samples, classes] against checked int64 labels. `areProbabilities`: the model ends in a Softmax. */
export function addScores(score: Score, scores: Tensor, labels: Tensor, areProbabilities: boolean): void {
  const values = numbersOf(scores);
  const [samples, classes] = scores.shape;
  for (let sample = 0; sample < samples; sample++) {
    const start = sample * classes;
    const label = Number(labels.data[sample]);
    score.samples++;
    score.labels.add(label);
    const found = argmax(values, start, classes);
    if (found === label && !Number.isNaN(values[start + found])) score.correct++;
    score.lossSum += areProbabilities
      ? -Math.log(Math.max(values[start + label], minProbability))
      : crossEntropy(values, start, classes, label);
  }
}

function crossEntropy(values: ArrayLike<number>, start: number, classes: number, label: number): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = start; i < start + classes; i++) largest = Math.max(largest, values[i]);
  let sum = 0;
  for (let i = start; i < start + classes; i++) sum += Math.exp(values[i] - largest);
  return Math.log(sum) + largest - values[start + label];
}

/** What class scores are worth. */
export interface Accuracy {
  /** How many were measured. */
  readonly samples: number;
  /** Per cent. */
  readonly top1: number;
  /** Cross-entropy, the mean over the samples of −ln p(label). */
  readonly loss: number;
  /** How many different labels the samples have; with one alone, an accuracy means nothing. */
  readonly differentLabels: number;
}

export const accuracyOf = (score: Score): Accuracy => ({
  samples: score.samples,
  top1: (100 * score.correct) / score.samples,
  loss: score.lossSum / score.samples,
  differentLabels: score.labels.size,
});
