// What arrays of labels can be: class indices, or what the model's output should be. The output decides which of them they are.
import { isFloat } from "../ir/dtype.ts";
import { sizeOf, type Tensor } from "../ir/tensor.ts";

/** What labels of whole numbers hold: 0 and 1 alone, −1 and 1 alone, one 1 in each row of classes, or more. */
export type LabelValues = "0-1" | "signs" | "one-hot" | "more";

/** Labels of positions that do not count, by the customs of PyTorch and of pictures, where no class has that index. */
const ignoredByCustom: ReadonlySet<number> = new Set([-1, -100, 255]);

export const isIgnored = (label: number, classes: number): boolean =>
  ignoredByCustom.has(label) && !(label >= 0 && label < classes);

/** What stands for all of them in training. */
export const ignoredLabel = ({ classes }: { readonly classes: number }): number => classes;

/** More classes than any output has elements for; beyond it, 64-bit labels would also be rounded. */
const maxClasses = 2 ** 31;

/** What an array of labels can be used as. */
export interface LabelFacts {
  /** Of one sample, axes of size 1 left out. */
  readonly shape: readonly number[];
  /** Present where that is known: where they can be class indices, or are signs. */
  readonly values?: LabelValues;
  /** Why they can not be class indices. */
  readonly notClasses?: string;
  /** Whether they can be what the output should be: floats, and whole numbers that are no class indices. */
  readonly isTarget: boolean;
}

/** `labels`: of all samples, along the first axis. */
export function describeLabels(labels: Tensor): LabelFacts {
  const shape = labels.shape.slice(1).filter((size) => size !== 1);
  const notClasses = faultOf(labels, shape.length > 0);
  const isMeasure = isFloat(labels.dtype) || (notClasses !== undefined && labels.dtype !== "bool");
  return {
    shape,
    isTarget: isMeasure && isExact(labels),
    ...(notClasses === undefined
      ? { values: valuesOf(labels, shape) }
      : { notClasses, ...(areSigns(labels, shape) && { values: "signs" }) }),
  };
}

/** One of −1 or 1 for each sample: two classes, as some tools have them, or values. */
function areSigns({ data, dtype }: Tensor, shape: readonly number[]): boolean {
  if (shape.length > 0 || dtype === "bool") return false;
  for (let i = 0; i < data.length; i++) if (Math.abs(Number(data[i])) !== 1) return false;
  return true;
}

function faultOf(labels: Tensor, arePositions: boolean): string | undefined {
  const { data, dtype, shape } = labels;
  const size = data.length / shape[0];
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]);
    if (value >= 0 && value < maxClasses && Number.isInteger(value)) continue;
    if (arePositions && isIgnored(value, 0)) continue;
    const where = `label ${data[i]} (sample ${Math.floor(i / size)}, ${dtype}) is`;
    if (!Number.isInteger(value)) return `${where} no whole number.`;
    return `${where} out of range; class indices are 0 to ${maxClasses - 1}.`;
  }
  return undefined;
}

/** Whether all elements are finite and exact as numbers. */
function isExact({ data }: Tensor): boolean {
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]);
    if (!Number.isFinite(value) || (typeof data[i] === "bigint" && !Number.isSafeInteger(value))) return false;
  }
  return true;
}

function valuesOf({ data, shape: [samples] }: Tensor, shape: readonly number[]): LabelValues {
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]);
    if (value > 1 && (shape.length === 0 || !isIgnored(value, 2))) return "more";
  }
  const rows =
    shape.length === 0
      ? []
      : [
          [samples, ...shape],
          [samples * sizeOf(shape.slice(0, -1)), shape.at(-1)!],
        ];
  return rows.some(([outer, size, ...rest]) => size > 1 && hasOneEach(data, outer, size, sizeOf(rest)))
    ? "one-hot"
    : "0-1";
}

/** Whether each row of [outer, size, inner] along the middle axis holds a single 1. */
function hasOneEach(data: ArrayLike<number | bigint>, outer: number, size: number, inner: number): boolean {
  for (let row = 0; row < outer * inner; row++) {
    const start = Math.floor(row / inner) * size * inner + (row % inner);
    let sum = 0;
    for (let i = 0; i < size; i++) sum += Number(data[start + i * inner]);
    if (sum !== 1) return false;
  }
  return true;
}
