// Kernels of the operators that reduce, normalize or accumulate along axes.
import type { Node } from "../ir/graph.ts";
import { sizeOf, type Tensor, toNumbers } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { letterSizes, parseEquation } from "../ops/equation.ts";
import { resolveAxis } from "../ops/operands.ts";
import { keepsAxes, reducedAxes, reducedShape } from "../ops/reducing.ts";
import { aroundAxis, broadcastOffsets, offsetsOf, required, steps, stridesOf } from "./index-maps.ts";
import type { Kernel } from "./kernel.ts";
import { asNumbers, fromNumbers } from "./numbers.ts";

interface Reduction {
  readonly start: number;
  readonly step: (total: number, x: number) => number;
  readonly end?: (total: number, count: number) => number;
}

interface Plan {
  readonly shape: readonly number[];
  /** The output element that each input element goes to. */
  readonly target: (i: number) => number;
  readonly length: number;
  /** How many elements become one. */
  readonly count: number;
}

function planOf(x: Tensor, axesInput: Tensor | undefined, node: Node): Plan {
  const axes = reducedAxes(node, axesInput && toNumbers(axesInput), x.shape.length);
  const kept = reducedShape(x.shape, axes, true);
  const offsets = broadcastOffsets(kept, x.shape);
  return {
    shape: reducedShape(x.shape, axes, keepsAxes(node)),
    target: offsets ? (i) => offsets[i] : (i) => i,
    length: sizeOf(kept),
    count: sizeOf(axes.map((axis) => x.shape[axis])),
  };
}

const reduceBy =
  ({ start, step, end }: Reduction): Kernel =>
  (inputs, node) => {
    const x = required(inputs, 0);
    const { shape, target, length, count } = planOf(x, inputs[1], node);
    const values = asNumbers(x);
    const totals = new Float64Array(length).fill(start);
    for (let i = 0; i < values.length; i++) {
      const at = target(i);
      totals[at] = step(totals[at], values[i]);
    }
    return [fromNumbers(x.dtype, shape, end ? totals.map((total) => end(total, count)) : totals)];
  };

/** log Σ eˣ, the largest x taken out. */
const reduceLogSumExp: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const { shape, target, length } = planOf(x, inputs[1], node);
  const values = asNumbers(x);
  const largest = new Float64Array(length).fill(Number.NEGATIVE_INFINITY);
  for (let i = 0; i < values.length; i++) largest[target(i)] = Math.max(largest[target(i)], values[i]);
  const totals = new Float64Array(length);
  for (let i = 0; i < values.length; i++) totals[target(i)] += Math.exp(values[i] - largest[target(i)]);
  return [
    fromNumbers(
      x.dtype,
      shape,
      totals.map((total, i) => largest[i] + Math.log(total)),
    ),
  ];
};

/** Calls `row` with the offsets of each line along the axis. */
const alongAxis =
  (row: (x: ArrayLike<number>, y: Float64Array, at: (k: number) => number, size: number) => void): Kernel =>
  (inputs, node) => {
    const x = required(inputs, 0);
    const axis = resolveAxis(node, numberAttribute(node, "axis", -1), x.shape.length);
    const { outer, size, inner } = aroundAxis(x.shape, axis);
    const values = asNumbers(x);
    const results = new Float64Array(values.length);
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < inner; i++) row(values, results, (k) => (o * size + k) * inner + i, size);
    return [fromNumbers(x.dtype, x.shape, results)];
  };

function largestOf(x: ArrayLike<number>, at: (k: number) => number, size: number): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let k = 0; k < size; k++) largest = Math.max(largest, x[at(k)]);
  return largest;
}

const softmax = alongAxis((x, y, at, size) => {
  const largest = largestOf(x, at, size);
  let total = 0;
  for (let k = 0; k < size; k++) {
    y[at(k)] = Math.exp(x[at(k)] - largest);
    total += y[at(k)];
  }
  for (let k = 0; k < size; k++) y[at(k)] /= total;
});

const logSoftmax = alongAxis((x, y, at, size) => {
  const largest = largestOf(x, at, size);
  let total = 0;
  for (let k = 0; k < size; k++) total += Math.exp(x[at(k)] - largest);
  for (let k = 0; k < size; k++) y[at(k)] = x[at(k)] - largest - Math.log(total);
});

const cumSum: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const axis = resolveAxis(node, toNumbers(required(inputs, 1))[0], x.shape.length);
  const { outer, size, inner } = aroundAxis(x.shape, axis);
  const isExclusive = numberAttribute(node, "exclusive", 0) === 1;
  const isReverse = numberAttribute(node, "reverse", 0) === 1;
  const values = asNumbers(x);
  const sums = new Float64Array(values.length);
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) {
      let total = 0;
      for (let step = 0; step < size; step++) {
        const at = (o * size + (isReverse ? size - 1 - step : step)) * inner + i;
        sums[at] = isExclusive ? total : total + values[at];
        total += values[at];
      }
    }
  return [fromNumbers(x.dtype, x.shape, sums)];
};

/** All letters run, the output's first; each input is read at its own strides. */
const einsum: Kernel = (inputs, node) => {
  const tensors = inputs.map((_, i) => required(inputs, i));
  const equation = parseEquation(node);
  const sizes = letterSizes(
    node,
    equation,
    tensors.map(({ shape }) => shape),
  );
  const letters = [...new Set([...equation.output, ...sizes.keys()])];
  const sizeOfLetter = (letter: string): number => sizes.get(letter) ?? 1;
  const places = tensors.map(({ shape }, i) => {
    const strides = stridesOf(shape);
    const strideOf = (letter: string): number =>
      [...equation.inputs[i]].reduce(
        (total, own, axis) => total + (own === letter && shape[axis] !== 1 ? strides[axis] : 0),
        0,
      );
    return offsetsOf(letters.map((letter) => steps(sizeOfLetter(letter), strideOf(letter))));
  });
  const shape = [...equation.output].map(sizeOfLetter);
  const values = tensors.map(asNumbers);
  const totals = new Float64Array(sizeOf(shape));
  const perOutput = sizeOf(letters.slice(shape.length).map(sizeOfLetter));
  for (let at = 0; at < totals.length * perOutput; at++)
    totals[Math.floor(at / perOutput)] += values.reduce((product, x, i) => product * x[places[i][at]], 1);
  return [fromNumbers(tensors[0].dtype, shape, totals)];
};

const sum = (total: number, x: number): number => total + x;

export const reductionKernels = {
  ReduceSum: reduceBy({ start: 0, step: sum }),
  ReduceMean: reduceBy({ start: 0, step: sum, end: (total, count) => total / count }),
  ReduceMax: reduceBy({ start: Number.NEGATIVE_INFINITY, step: Math.max }),
  ReduceMin: reduceBy({ start: Number.POSITIVE_INFINITY, step: Math.min }),
  ReduceProd: reduceBy({ start: 1, step: (total, x) => total * x }),
  ReduceL1: reduceBy({ start: 0, step: (total, x) => total + Math.abs(x) }),
  ReduceL2: reduceBy({ start: 0, step: (total, x) => total + x * x, end: Math.sqrt }),
  ReduceSumSquare: reduceBy({ start: 0, step: (total, x) => total + x * x }),
  ReduceLogSumExp: reduceLogSumExp,
  Softmax: softmax,
  LogSoftmax: logSoftmax,
  CumSum: cumSum,
  Einsum: einsum,
} satisfies Record<string, Kernel>;
