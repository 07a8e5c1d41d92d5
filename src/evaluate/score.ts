// What class scores are worth against labels: accuracy, cross-entropy and the overlap of classes.
import type { Batch } from "../data/batches.ts";
import { type Dataset, sampleOf } from "../data/dataset.ts";
import { isIgnored } from "../data/labels.ts";
import type { Tally } from "../distributed/tally.ts";
import { FrostbitError } from "../ir/errors.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import type { ClassPlace } from "../passes/class-scores.ts";

/** Counts what a run of batches got right. */
export interface Score {
  readonly place: ClassPlace;
  /** Whether each position of a sample has its label. */
  readonly hasPositions: boolean;
  samples: number;
  /** Labels that count, one a sample or one a position. */
  counted: number;
  correct: number;
  /** Sum over them of −log p(label). */
  lossSum: number;
  readonly labels: Set<number>;
  /** By class: positions where label and prediction are it, and where either is. */
  readonly overlap: Overlap;
  readonly bySample: { readonly accuracy: number[]; readonly loss: number[]; readonly meanIou: number[] };
}

interface Overlap {
  readonly both: Float64Array;
  readonly either: Float64Array;
}

const noOverlap = ({ classes }: ClassPlace): Overlap => ({
  both: new Float64Array(classes),
  either: new Float64Array(classes),
});

export const emptyScore = (place: ClassPlace, hasPositions = false): Score => ({
  place,
  hasPositions,
  samples: 0,
  counted: 0,
  correct: 0,
  lossSum: 0,
  labels: new Set(),
  overlap: noOverlap(place),
  bySample: { accuracy: [], loss: [], meanIou: [] },
});

/** Index of the largest of `count` values from `start`, `step` apart; the first of equals. */
export function argmax(values: ArrayLike<number>, start: number, count: number, step = 1): number {
  let best = 0;
  for (let i = 1; i < count; i++) if (values[start + i * step] > values[start + best * step]) best = i;
  return best;
}

/** Throws BAD_DATA naming the first label of a dataset's batch that is outside the model's classes. */
export function checkLabels({ labels, indices }: Batch, dataset: Dataset, classes: number): void {
  if (!labels) return;
  const arePositions = labels.data.length > indices.length;
  const bad = labels.data.findIndex((label: number | bigint) => {
    const index = Number(label);
    return !(index >= 0 && index < classes) && !(arePositions && isIgnored(index, classes));
  });
  if (bad < 0) return;
  const sample = sampleOf(dataset, indices[Math.floor((bad * indices.length) / labels.data.length)]);
  const ignored = arePositions ? ", and none of -1, -100 and 255, which are ignored" : "";
  throw new FrostbitError(
    "BAD_DATA",
    `Label ${labels.data[bad]} (sample ${sample} of "${dataset.name}") is outside the model's classes 0 to ${classes - 1}${ignored}. Check the labels, or whether the model fits the data.`,
  );
}

/** The smallest float32 above 0: a probability that rounds to 0 does not prove that the class is impossible. */
const minProbability = 2 ** -149;

/** Adds scores of a batch's samples against checked int64 labels. `areProbabilities`: the model ends in a Softmax or Sigmoid. */
export function addScores(score: Score, scores: Tensor, labels: Tensor, areProbabilities: boolean): void {
  const [samples] = labels.shape;
  const positions = labels.data.length / samples;
  const judge = judgeOf(score.place, scores, areProbabilities);
  for (let sample = 0; sample < samples; sample++)
    addSample(score, labels.data.subarray(sample * positions, (sample + 1) * positions), (position, label) =>
      judge(sample * positions + position, label),
    );
}

/** What a position is taken for, −1 where its scores are NaN, and −log p(label). */
type Judge = (position: number, label: number) => { readonly found: number; readonly loss: number };

function judgeOf({ axis, classes }: ClassPlace, scores: Tensor, areProbabilities: boolean): Judge {
  const values = numbersOf(scores);
  if (axis === "none") return (at, label) => judgeBinary(values[at], label, areProbabilities);
  const inner = scores.shape.slice(axis + 1).reduce((product, size) => product * size, 1);
  return (position, label) => {
    const start = Math.floor(position / inner) * classes * inner + (position % inner);
    const best = argmax(values, start, classes, inner);
    return {
      found: Number.isNaN(values[start + best * inner]) ? -1 : best,
      loss: areProbabilities
        ? -Math.log(Math.max(values[start + label * inner], minProbability))
        : crossEntropy(values, { start, best, label, classes, inner }),
    };
  };
}

function judgeBinary(value: number, label: number, isProbability: boolean): ReturnType<Judge> {
  const found = Number.isNaN(value) ? -1 : Number(value > (isProbability ? 0.5 : 0));
  const loss = isProbability
    ? -Math.log(Math.max(label === 1 ? value : 1 - value, minProbability))
    : Math.max(value, 0) - label * value + Math.log1p(Math.exp(-Math.abs(value)));
  return { found, loss };
}

interface ScoredPosition {
  /** Of the first class. */
  readonly start: number;
  /** The class of the largest score. */
  readonly best: number;
  readonly label: number;
  readonly classes: number;
  readonly inner: number;
}

function crossEntropy(values: ArrayLike<number>, { start, best, label, classes, inner }: ScoredPosition): number {
  const end = start + classes * inner;
  const largest = values[start + best * inner];
  let sum = 0;
  for (let i = start; i < end; i += inner) sum += Math.exp(values[i] - largest);
  return Math.log(sum) + largest - values[start + label * inner];
}

function addSample(score: Score, labels: Tensor["data"], judge: Judge): void {
  const { hasPositions, place, bySample } = score;
  const own = hasPositions ? noOverlap(place) : score.overlap;
  const [counted, correct, lossSum] = [score.counted, score.correct, score.lossSum];
  for (let position = 0; position < labels.length; position++) {
    const label = Number(labels[position]);
    if (hasPositions && isIgnored(label, place.classes)) continue;
    const { found, loss } = judge(position, label);
    score.counted++;
    score.labels.add(label);
    if (found === label) score.correct++;
    score.lossSum += loss;
    addOverlap(own, label, found);
  }
  score.samples++;
  const share = (sum: number): number => sum / (score.counted - counted);
  bySample.accuracy.push(share(score.correct - correct));
  bySample.loss.push(share(score.lossSum - lossSum));
  if (!hasPositions) return;
  bySample.meanIou.push(meanIouOf(own));
  own.both.forEach((count, i) => {
    score.overlap.both[i] += count;
    score.overlap.either[i] += own.either[i];
  });
}

function addOverlap({ both, either }: Overlap, label: number, found: number): void {
  either[label]++;
  if (found === label) both[label]++;
  else if (found >= 0) either[found]++;
}

/** The mean over the classes that labels or predictions have. */
function meanIouOf({ both, either }: Overlap): number {
  let [sum, classes] = [0, 0];
  for (let i = 0; i < both.length; i++)
    if (either[i] > 0) {
      sum += both[i] / either[i];
      classes++;
    }
  return sum / classes;
}

/** As what is joined to other batches'. */
export const tallyOf = ({ samples, counted, correct, lossSum, labels, overlap, bySample }: Score): Tally => ({
  sums: [[lossSum]],
  counts: [[samples, counted, correct], overlap.both, overlap.either],
  lists: [[...labels], bySample.accuracy, bySample.loss, bySample.meanIou],
});

const [countsOfScore, listsOfScore] = [3, 4];

/** Of the tally after `index` others of scores. */
export function countsOf({ counts = [] }: Tally, index: number): Pick<Score, "samples" | "counted" | "correct"> {
  const [samples, counted, correct] = Array.from(counts[countsOfScore * index]);
  return { samples, counted, correct };
}

/** An empty score filled with the tally after `index` others of scores. */
export function scoreOf(empty: Score, tally: Tally, index: number): Score {
  const [, both, either] = (tally.counts ?? []).slice(countsOfScore * index);
  const [labels, accuracy, loss, meanIou] = tally.lists.slice(listsOfScore * index).map((list) => Array.from(list));
  return {
    ...empty,
    ...countsOf(tally, index),
    lossSum: tally.sums[index][0],
    labels: new Set(labels),
    overlap: { both: Float64Array.from(both), either: Float64Array.from(either) },
    bySample: { accuracy, loss, meanIou },
  };
}

/** Of what was added so far; `undefined` where no label counted. */
export const percentCorrect = ({ correct, counted }: Pick<Score, "correct" | "counted">): number =>
  (100 * correct) / counted;

export const scoreMetrics = (score: Score) => ({
  classes: score.place.classes,
  top1: percentCorrect(score),
  loss: score.lossSum / score.counted,
  meanIou: score.hasPositions ? 100 * meanIouOf(score.overlap) : null,
  differentLabels: score.labels.size,
});
