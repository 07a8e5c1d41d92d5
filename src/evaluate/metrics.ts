// What a model's output is worth against labels, measured batch by batch.
import type { Batch } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Tally } from "../distributed/tally.ts";
import { assert } from "../ir/errors.ts";
import { castTensor, numbersOf, type Tensor } from "../ir/tensor.ts";
import type { ClassPlace } from "../passes/class-scores.ts";
import type { LabelUse } from "./label-use.ts";
import {
  addScores,
  checkLabels,
  countsOf,
  emptyScore,
  percentCorrect,
  type Score,
  scoreMetrics,
  scoreOf,
  tallyOf,
} from "./score.ts";

/** What an output is worth against labels. Class indices have an accuracy, measured values an error; the others are null. */
export interface Metrics {
  /** What the labels are: indices of classes, 0 or 1 for a single score, what the output should be, or what a metric of one's own reads. */
  readonly labels: "classes" | "binary" | "values" | "metric";
  /** How many were measured. */
  readonly samples: number;
  /** How many the model tells apart. */
  readonly classes: number | null;
  /** Accuracy in per cent: of the samples, or of all positions where each has its label. */
  readonly top1: number | null;
  /** Cross-entropy, the mean of −ln p(label). */
  readonly loss: number | null;
  /** Where each position has its label: intersection over union in per cent, the mean over the classes that occur. */
  readonly meanIou: number | null;
  /** The root of the mean squared error, in the labels' unit. */
  readonly rmse: number | null;
  /** The mean absolute error, in the labels' unit. */
  readonly mae: number | null;
  /** How many different class indices there are; with one alone, an accuracy means nothing. */
  readonly differentLabels: number | null;
  /** A metric of one's own, which then is all that is measured. */
  readonly metric?: { readonly name: string; readonly value: number; readonly higherIsBetter: boolean };
}

/** One figure of each sample, for comparing two models sample by sample. */
export interface BySample {
  readonly accuracy?: readonly number[];
  readonly loss?: readonly number[];
  readonly meanIou?: readonly number[];
  readonly squaredError?: readonly number[];
  /** Of a metric of one's own: of each sample, or of each tenth of them. */
  readonly metric?: readonly number[];
}

/** What a model is worth, as a whole and sample by sample. */
export interface Measurement {
  readonly metrics: Metrics;
  readonly bySample: BySample;
}

export interface Meter {
  /** What an output counts against a batch's labels. */
  readonly count: (output: Tensor, batch: Batch) => Tally;
  /** What was counted, in few words. */
  readonly note: (counted: Tally) => string;
  readonly measurement: (counted: Tally) => Measurement;
}

type Use = Exclude<LabelUse, { kind: "none" }>;

/** `areProbabilities`: whether class scores are; absent: as their values look. */
export const meterOf = (use: Use, dataset: Dataset, areProbabilities?: boolean): Meter =>
  use.kind === "values" ? errorMeter() : scoreMeter(use, dataset, areProbabilities);

const nothing = {
  classes: null,
  top1: null,
  loss: null,
  meanIou: null,
  rmse: null,
  mae: null,
  differentLabels: null,
} as const;

const hasPositions = ({ labelShape = [] }: Dataset): boolean => labelShape.some((size) => size !== 1);

/** What its accuracy is called. */
export const accuracyName = ({ labels, meanIou }: Pick<Metrics, "labels" | "meanIou">): string =>
  labels === "classes" && meanIou === null ? "top-1" : "accuracy";

function scoreMeter({ place }: Extract<Use, { kind: "classes" }>, dataset: Dataset, known?: boolean): Meter {
  const isOfPositions = hasPositions(dataset);
  const empty = (): Score => emptyScore(place, isOfPositions);
  /** Probabilities first: what is none in any batch leaves the other reading. */
  const readings = known === undefined ? [true, false] : [known];
  const readingIn = ({ counts = [] }: Tally): number => (counts[counts.length - 1][0] > 0 ? readings.length - 1 : 0);
  const labels = place.axis === "none" ? "binary" : "classes";
  return {
    count: (output, batch) => {
      const { labels: given } = batch;
      assert(given, "batch without labels");
      checkLabels(batch, dataset, place.classes);
      const isOutside = known === undefined && !looksProbable(output, place);
      const tallies = readings.map((areProbabilities) => {
        const score = empty();
        if (!(areProbabilities && isOutside)) addScores(score, output, given, areProbabilities);
        return tallyOf(score);
      });
      return {
        sums: tallies.flatMap(({ sums }) => sums),
        counts: [...tallies.flatMap(({ counts = [] }) => counts), [Number(isOutside)]],
        lists: tallies.flatMap(({ lists }) => lists),
      };
    },
    note: (counted) => {
      const name = accuracyName({ labels, meanIou: isOfPositions ? 0 : null });
      return `${name} ${percentCorrect(countsOf(counted, readingIn(counted))).toFixed(2)} %`;
    },
    measurement: (counted) => {
      const score = scoreOf(empty(), counted, readingIn(counted));
      const { accuracy, loss, meanIou } = score.bySample;
      const metrics = { ...nothing, ...scoreMetrics(score), labels, samples: score.samples } as const;
      return { metrics, bySample: { accuracy, loss, ...(isOfPositions && { meanIou }) } };
    },
  };
}

/** Logits are not within 0 to 1, nor do those of all classes sum to 1; the output of a Softmax or Sigmoid always does. */
function looksProbable(scores: Tensor, { axis, classes }: ClassPlace): boolean {
  const values = numbersOf(scores);
  for (let i = 0; i < values.length; i++) if (!(values[i] >= 0 && values[i] <= 1.001)) return false;
  if (axis === "none") return true;
  const inner = scores.shape.slice(axis + 1).reduce((product, size) => product * size, 1);
  for (let row = 0; row < values.length / classes; row++) {
    const start = Math.floor(row / inner) * classes * inner + (row % inner);
    let sum = 0;
    for (let i = 0; i < classes; i++) sum += values[start + i * inner];
    if (Math.abs(sum - 1) > 1e-3) return false;
  }
  return true;
}

function errorMeter(): Meter {
  const rmse = ([squares, , count]: readonly number[]): number => Math.sqrt(squares / count);
  return {
    count: (output, { indices, labels, target }) => {
      const wanted = target ?? (labels && castTensor(labels, "float32"));
      assert(wanted && wanted.data.length === output.data.length, "measured values without labels of their size");
      const [actual, expected] = [numbersOf(output), numbersOf(wanted)];
      const size = actual.length / indices.length;
      const squaredError: number[] = [];
      let [squares, sizes] = [0, 0];
      for (let sample = 0; sample < indices.length; sample++) {
        let own = 0;
        for (let i = sample * size; i < (sample + 1) * size; i++) {
          const error = actual[i] - expected[i];
          own += error * error;
          sizes += Math.abs(error);
        }
        squares += own;
        squaredError.push(own / size);
      }
      return { sums: [[squares, sizes, actual.length]], lists: [squaredError] };
    },
    note: ({ sums: [sums] }) => `RMSE ${rmse(Array.from(sums)).toPrecision(3)}`,
    measurement: ({ sums: [sums], lists: [squaredError] }) => {
      const [, sizes, count] = Array.from(sums);
      const samples = squaredError.length;
      const metrics = {
        ...nothing,
        labels: "values" as const,
        samples,
        rmse: rmse(Array.from(sums)),
        mae: sizes / count,
      };
      return { metrics, bySample: { squaredError: Array.from(squaredError) } };
    },
  };
}
