// Metrics by name, beside those that labels choose by themselves.
import { FrostbitError } from "../ir/errors.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import type { OwnMetric, SampleOutputs } from "./own-metric.ts";

const firstOf = (outputs: SampleOutputs): ArrayLike<number> => numbersOf(Object.values(outputs)[0]);

function labelOf(labels: Tensor | undefined, metric: string): number {
  if (labels?.data.length === 1) return Number(labels.data[0]);
  throw new FrostbitError(
    "BAD_DATA",
    `${metric} wants one label a sample; ${labels ? `there are ${labels.data.length}` : "there are none"}. Give labels, one for each sample.`,
  );
}

/** Per cent of the samples whose label is among the k classes of the largest scores. What is no number is among none. */
export const topK = (k: number): OwnMetric => ({
  name: `top-${k}`,
  higherIsBetter: true,
  of: (outputs, labels) => {
    const [scores, label] = [firstOf(outputs), labelOf(labels, `top-${k}`)];
    if (!Number.isInteger(label) || label < 0 || label >= scores.length)
      throw new FrostbitError(
        "BAD_DATA",
        `top-${k}: label ${label} is no class of the output's ${scores.length}; expected 0 to ${scores.length - 1}.`,
      );
    let larger = 0;
    for (let i = 0; i < scores.length; i++)
      if (scores[i] > scores[label] || (scores[i] === scores[label] && i < label)) larger++;
    return larger < k && !Number.isNaN(scores[label]) ? 100 : 0;
  },
});

/** Area under the curve of true against false positives, of one score a sample or the second of two. */
export const areaUnderCurve: OwnMetric = {
  name: "AUC",
  higherIsBetter: true,
  of: {
    start: () => {
      const scored: { readonly score: number; readonly isTrue: boolean }[] = [];
      return {
        add: (outputs, labels) => {
          const [scores, label] = [firstOf(outputs), labelOf(labels, "AUC")];
          if (scores.length > 2)
            throw new FrostbitError(
              "BAD_DATA",
              `AUC wants one score a sample, or two; the first output has ${scores.length}.`,
            );
          if (label !== 0 && label !== 1)
            throw new FrostbitError("BAD_DATA", `AUC wants labels of 0 and 1; one is ${label}.`);
          scored.push({ score: scores.length === 1 ? scores[0] : scores[1] - scores[0], isTrue: label === 1 });
        },
        value: () => curveArea(scored),
      };
    },
  },
};

/**
 * Of pairs of a true and a false sample, the share in which the true one has the larger score; equals count half. NaN where there are
 * no such pairs, or a score is NaN.
 */
function curveArea(scored: readonly { readonly score: number; readonly isTrue: boolean }[]): number {
  if (scored.some(({ score }) => Number.isNaN(score))) return Number.NaN;
  const rising = scored.toSorted((a, b) => a.score - b.score);
  let [falseBelow, pairs, allTrue] = [0, 0, 0];
  for (let start = 0; start < rising.length; ) {
    let end = start;
    while (end < rising.length && rising[end].score === rising[start].score) end++;
    const trueHere = rising.slice(start, end).filter(({ isTrue }) => isTrue).length;
    const falseHere = end - start - trueHere;
    pairs += trueHere * (falseBelow + falseHere / 2);
    falseBelow += falseHere;
    allTrue += trueHere;
    start = end;
  }
  return allTrue * falseBelow === 0 ? Number.NaN : pairs / (allTrue * falseBelow);
}

/** Mean distance of the first output from what it should be. */
export const meanAbsoluteError: OwnMetric = {
  name: "MAE",
  higherIsBetter: false,
  of: (outputs, labels) => {
    const found = firstOf(outputs);
    const wanted = labels ? numbersOf(labels) : [];
    if (wanted.length !== found.length)
      throw new FrostbitError(
        "BAD_DATA",
        `MAE wants labels of the output's size, ${found.length}; there are ${wanted.length}.`,
      );
    let sum = 0;
    for (let i = 0; i < found.length; i++) sum += Math.abs(found[i] - Number(wanted[i]));
    return sum / found.length;
  },
};

/** A box [left, top, right, bottom] of a class; what was found has a score. */
export interface Box {
  readonly box: readonly [number, number, number, number];
  readonly label: number;
}
export interface ScoredBox extends Box {
  readonly score: number;
}

/** Counts boxes picture by picture. */
export interface DetectionMetric {
  /** The boxes found in one picture, and those that are there. */
  readonly add: (found: readonly ScoredBox[], wanted: readonly Box[]) => void;
  /** Mean over the classes of the area under precision against recall, at each overlap the mean. */
  readonly value: () => number;
}

interface Detection {
  readonly score: number;
  readonly isTrue: boolean;
}

/** Mean average precision (every point of the curve), at one overlap (0.5) or the mean over several (0.5 to 0.95). */
export function meanAveragePrecision(overlaps: readonly number[] = [0.5]): DetectionMetric {
  const detections = overlaps.map(() => new Map<number, Detection[]>());
  const counts = new Map<number, number>();
  const add: DetectionMetric["add"] = (found, wanted) => {
    for (const { label } of wanted) counts.set(label, (counts.get(label) ?? 0) + 1);
    overlaps.forEach((least, i) => {
      const taken = new Set<Box>();
      for (const each of found.toSorted((a, b) => b.score - a.score)) {
        const match = bestMatch(each, wanted, taken, least);
        if (match) taken.add(match);
        const list = detections[i].get(each.label) ?? [];
        list.push({ score: each.score, isTrue: match !== undefined });
        detections[i].set(each.label, list);
      }
    });
  };
  return {
    add,
    value: () => {
      const values = detections.flatMap((byLabel) =>
        [...counts].map(([label, count]) => averagePrecision(byLabel.get(label) ?? [], count)),
      );
      return values.reduce((sum, value) => sum + value, 0) / values.length;
    },
  };
}

function bestMatch(found: Box, wanted: readonly Box[], taken: ReadonlySet<Box>, least: number): Box | undefined {
  const free = wanted.filter((other) => other.label === found.label && !taken.has(other));
  const [best] = free.toSorted((a, b) => overlapOf(b, found) - overlapOf(a, found));
  return best && overlapOf(best, found) >= least ? best : undefined;
}

/** Intersection over union. */
function overlapOf({ box: a }: Box, { box: b }: Box): number {
  const side = (low: number, high: number): number =>
    Math.max(0, Math.min(a[high], b[high]) - Math.max(a[low], b[low]));
  const area = (box: Box["box"]): number => (box[2] - box[0]) * (box[3] - box[1]);
  const both = side(0, 2) * side(1, 3);
  const either = area(a) + area(b) - both;
  return either > 0 ? both / either : 0;
}

/** Area under the precision that no smaller recall exceeds. */
function averagePrecision(detections: readonly Detection[], count: number): number {
  const falling = detections.toSorted((a, b) => b.score - a.score);
  let found = 0;
  const precisions: number[] = [];
  falling.forEach(({ isTrue }, i) => {
    if (!isTrue) return;
    found++;
    precisions.push(found / (i + 1));
  });
  let [best, area] = [0, 0];
  for (const precision of precisions.toReversed()) {
    best = Math.max(best, precision);
    area += best / count;
  }
  return area;
}

const named: Readonly<Record<string, OwnMetric>> = { auc: areaUnderCurve, mae: meanAbsoluteError };

/** What `--metric` may be besides a module, for help and messages. */
export const knownMetrics = `"top5" (any number of classes), "auc", "mae"`;

/** `undefined` where no metric has this name. */
export function knownMetric(name: string): OwnMetric | undefined {
  const [, k] = /^top-?([1-9]\d*)$/.exec(name) ?? [];
  if (k !== undefined) return topK(Number(k));
  return Object.hasOwn(named, name) ? named[name] : undefined;
}
