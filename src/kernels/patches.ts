// Windows over three spatial axes as matrices of patches: what turns convolutions into matrix products.
import type { Window } from "../ops/window.ts";
import type { Matrix } from "./matrix.ts";

/** A window with its input's and output's sizes, filled up to three spatial axes. */
export interface Geometry {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Padding at the beginning. */
  readonly begin: readonly number[];
  readonly input: readonly number[];
  readonly output: readonly number[];
  readonly inputSize: number;
  readonly outputSize: number;
  readonly kernelSize: number;
}

const three = (values: readonly number[], fill: number): number[] => [
  ...Array.from({ length: 3 - values.length }, () => fill),
  ...values,
];
const product = (values: readonly number[]): number => values.reduce((a, b) => a * b, 1);

export function geometryOf(window: Window, input: readonly number[], output: readonly number[]): Geometry {
  return {
    kernel: three(window.kernel, 1),
    strides: three(window.strides, 1),
    dilations: three(window.dilations, 1),
    begin: three(window.pads.slice(0, window.kernel.length), 0),
    input: three(input, 1),
    output: three(output, 1),
    inputSize: product(input),
    outputSize: product(output),
    kernelSize: product(window.kernel),
  };
}

/** The first and one past the last output position whose tap is inside the input. */
export function tapRange(geometry: Geometry, axis: number, tap: number): readonly [number, number] {
  const shift = tap * geometry.dilations[axis] - geometry.begin[axis];
  const stride = geometry.strides[axis];
  const first = Math.max(0, Math.ceil(-shift / stride));
  const end = Math.min(geometry.output[axis], Math.floor((geometry.input[axis] - 1 - shift) / stride) + 1);
  return [first, end];
}

/** Visits runs of output positions along the last axis that a tap joins to input positions. */
type VisitRun = (tap: number, output: number, input: number, length: number, inputStep: number) => void;

/** For every tap of the kernel, all runs inside the input; positions are offsets within one channel. */
export function forEachRun(geometry: Geometry, visit: VisitRun): void {
  const [kd, kh, kw] = geometry.kernel;
  for (let d = 0; d < kd; d++)
    for (let h = 0; h < kh; h++) for (let w = 0; w < kw; w++) visitTap(geometry, [d, h, w], visit);
}

function visitTap(geometry: Geometry, [d, h, w]: readonly [number, number, number], visit: VisitRun): void {
  const { kernel, strides, dilations, begin, input, output } = geometry;
  const tap = (d * kernel[1] + h) * kernel[2] + w;
  const [firstD, endD] = tapRange(geometry, 0, d);
  const [firstH, endH] = tapRange(geometry, 1, h);
  const [firstW, endW] = tapRange(geometry, 2, w);
  if (endW <= firstW) return;
  const atW = firstW * strides[2] + w * dilations[2] - begin[2];
  for (let od = firstD; od < endD; od++) {
    const atD = od * strides[0] + d * dilations[0] - begin[0];
    for (let oh = firstH; oh < endH; oh++) {
      const atH = oh * strides[1] + h * dilations[1] - begin[1];
      visit(
        tap,
        (od * output[1] + oh) * output[2] + firstW,
        (atD * input[1] + atH) * input[2] + atW,
        endW - firstW,
        strides[2],
      );
    }
  }
}

/** Runs as one flat list of five numbers each, so that every channel and sample reuses them. */
export function listRuns(geometry: Geometry): Int32Array {
  const runs: number[] = [];
  forEachRun(geometry, (tap, output, input, length, inputStep) => runs.push(tap, output, input, length, inputStep));
  return Int32Array.from(runs);
}

/** The layout of patches: element (tap, position) of channel c is at c · kernelSize · tapStep + tap · tapStep + position · positionStep. */
interface PatchLayout {
  readonly tapStep: number;
  readonly positionStep: number;
}

/** The windows of one sample's channels. */
export interface Windows {
  readonly channels: number;
  readonly geometry: Geometry;
  /** From `listRuns`. */
  readonly runs: Int32Array;
  readonly layout: PatchLayout;
}

/** Copies channels into patches; elements in the padding keep their value (zero). */
export function gatherPatches(
  patches: Float64Array,
  { data: x, offset }: Matrix,
  { channels, geometry, runs, layout: { tapStep, positionStep } }: Windows,
): void {
  for (let c = 0; c < channels; c++) {
    const from = offset + c * geometry.inputSize;
    const to = c * geometry.kernelSize * tapStep;
    for (let r = 0; r < runs.length; r += 5) {
      let target = to + runs[r] * tapStep + runs[r + 1] * positionStep;
      let source = from + runs[r + 2];
      const step = runs[r + 4];
      for (let i = runs[r + 3]; i > 0; i--, target += positionStep, source += step) patches[target] = x[source];
    }
  }
}

/** Adds patches to the elements that they were copied from. */
export function scatterPatches(
  { data: x, offset }: Matrix,
  patches: Float64Array,
  { channels, geometry, runs, layout: { tapStep, positionStep } }: Windows,
): void {
  for (let c = 0; c < channels; c++) {
    const to = offset + c * geometry.inputSize;
    const from = c * geometry.kernelSize * tapStep;
    for (let r = 0; r < runs.length; r += 5) {
      let source = from + runs[r] * tapStep + runs[r + 1] * positionStep;
      let target = to + runs[r + 2];
      const step = runs[r + 4];
      for (let i = runs[r + 3]; i > 0; i--, source += positionStep, target += step) x[target] += patches[source];
    }
  }
}
