// Weights that nobody learned: filters that are part of the computation, such as the expected value behind a detector's Softmax.
import type { Node } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor } from "../ir/tensor.ts";
import { groupOf } from "../ops/convolution-shape.ts";
import { isMatrixProduct, weightAxesOf } from "../ops/linear.ts";

/** Filters are small. */
const maxElements = 2 ** 16;
/** So many whole numbers from 0 are bins by themselves; behind a Softmax, three of any ramp are. */
const manyBins = 8;

/**
 * What filter a product's weight is; `undefined` where it may be learned. Told by its values, which learned ones do not have:
 * ramps alike, one filter for all channels, single ones among zeros.
 */
export function fixedFilter(
  node: Node,
  weight: Tensor | undefined,
  producerOf: ReadonlyMap<string, Node>,
): string | undefined {
  if (!weight || weight.shape.length < 2 || sizeOf(weight.shape) > maxElements) return undefined;
  const filters = filtersOf(node, weight);
  if (!filters || filters.count === 0 || filters.row(0).length === 0 || areLearned(filters)) return undefined;
  const rows = Array.from({ length: filters.count }, (_, i) => filters.row(i));
  const isAlike = rows.every((row) => isSame(row, rows[0]) && !isZero(row));
  const isExpectation = readsSoftmax(node, producerOf) ? isRamp(rows[0]) : areBins(rows[0]);
  if (isAlike && isRowOfInputs(weight) && isExpectation) return "the numbers of a ramp, which give an expected value";
  if (isMatrixProduct(node)) return undefined;
  if (isAlike && isDepthwise(node, weight) && rows[0].length > 1) return "one filter for all channels";
  if (rows.length >= 4 && rows.every((row) => picksOne(row, rows[0]))) return "a choice of single inputs";
  return undefined;
}

/** A weight's numbers by output channel. */
interface Filters {
  readonly count: number;
  readonly row: (channel: number) => readonly number[];
}

/** `undefined` where the weight's axes are others. */
function filtersOf(node: Node, weight: Tensor): Filters | undefined {
  const axis = weightAxesOf(node, weight.shape)?.rows;
  if (axis !== 0 && axis !== 1) return undefined;
  const data = numbersOf(weight);
  const inner = sizeOf(weight.shape.slice(axis + 1));
  const count = weight.shape[axis];
  const row = (channel: number): readonly number[] => {
    const numbers: number[] = [];
    for (let start = channel * inner; start < data.length; start += count * inner)
      for (let i = start; i < start + inner; i++) numbers.push(data[i]);
    return numbers;
  };
  return { count, row };
}

/** What nearly all weights show at once: the first two rows differ, and one has several numbers. */
const areLearned = ({ count, row }: Filters): boolean =>
  count > 1 && !isSame(row(0), row(1)) && row(0).filter((value) => value !== 0).length > 1;

const isRowOfInputs = ({ shape }: Tensor): boolean => shape.slice(2).every((size) => size === 1);

/** 0, 1, 2, … */
const areBins = (row: readonly number[]): boolean => row.length >= manyBins && row.every((value, i) => value === i);

/** a, a + d, a + 2d, … with d other than 0, up to the rounding of float32. */
function isRamp(row: readonly number[]): boolean {
  const [first, last] = [row[0], row[row.length - 1]];
  const step = (last - first) / (row.length - 1);
  const tolerance = 2 ** -20 * Math.max(Math.abs(first), Math.abs(last));
  return row.length >= 3 && step !== 0 && row.every((value, i) => Math.abs(value - (first + i * step)) <= tolerance);
}

const isDepthwise = (node: Node, { shape }: Tensor): boolean =>
  groupOf(node) > 1 && shape[0] === groupOf(node) && shape[1] === 1;

const isSame = (a: readonly number[], b: readonly number[]): boolean => a.every((value, i) => value === b[i]);
const isZero = (row: readonly number[]): boolean => row.every((value) => value === 0);

/** One number other than 0, the same in every row. */
function picksOne(row: readonly number[], first: readonly number[]): boolean {
  const others = row.filter((value) => value !== 0);
  return row.length > 1 && others.length === 1 && others[0] === first.find((value) => value !== 0);
}

const carryingOps: ReadonlySet<string> = new Set([
  "Reshape",
  "Transpose",
  "Flatten",
  "Squeeze",
  "Unsqueeze",
  "Identity",
]);

function readsSoftmax(node: Node, producerOf: ReadonlyMap<string, Node>): boolean {
  let before = producerOf.get(node.inputs[0]);
  while (before && carryingOps.has(before.op)) before = producerOf.get(before.inputs[0]);
  return before?.op === "Softmax";
}
