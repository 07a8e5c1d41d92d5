// A convolution's numbers as native/src/steps/convolution.cpp reads them, and what would implement it.
import type { Node } from "../../ir/graph.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { groupOf } from "../../ops/convolution-shape.ts";
import type { Window } from "../../ops/window.ts";
import type { Numerics } from "./lowering.ts";
import { list } from "./plan.ts";

export interface Geometry {
  readonly ints: readonly number[];
  /** Tiles of 2 × 2 outputs of all images that Winograd's algorithm divides it and its gradients into, the fewest of these; 0 where it does not serve. */
  readonly tiles: number;
  /** Whether it has two spatial axes, one group, windows side by side and whole vectors of channels. */
  readonly isDense: boolean;
  /** Per value that Winograd's algorithm transforms. */
  readonly multiplications: number;
  readonly multiplyAdds: number;
  /** Along the last axis. */
  readonly isWiderThanStride: boolean;
  /** Elements of x, w and y, gradients in their places. */
  readonly elements: { readonly x: number; readonly w: number; readonly y: number };
}

export function geometryOf(node: Node, window: Window, x: readonly number[], y: readonly number[]): Geometry {
  const { kernel, strides, dilations, pads } = window;
  const [begin, end] = [pads.slice(0, kernel.length), pads.slice(kernel.length)];
  const lists = [x.slice(2), y.slice(2), kernel, strides, dilations, begin, end];
  const weightsPerOutput = (x[1] * sizeOf(kernel)) / groupOf(node);
  const isDense = groupOf(node) === 1 && isSideBySide(window, x, y);
  return {
    ints: [x[0], groupOf(node), x[1], y[1], ...lists.flatMap(list)],
    tiles: isDense ? tilesOf(kernel, x, y) : 0,
    isDense,
    multiplications: (x[1] * y[1]) / (x[1] + y[1]),
    multiplyAdds: sizeOf(y) * weightsPerOutput,
    isWiderThanStride: (strides.at(-1) ?? 1) <= (x.at(-1) ?? 0),
    elements: { x: sizeOf(x), w: y[1] * weightsPerOutput, y: sizeOf(y) },
  };
}

function isSideBySide({ strides, dilations }: Window, x: readonly number[], y: readonly number[]): boolean {
  const areVectors = [x, y].every((sizes) => sizes.length === 4 && sizes[1] % 16 === 0);
  return areVectors && [...strides, ...dilations].every((each) => each === 1);
}

/** Of 3 × 3 windows. */
function tilesOf(kernel: readonly number[], x: readonly number[], y: readonly number[]): number {
  if (kernel.join() !== "3,3") return 0;
  return Math.min(...[x, y].map(([images, , height, width]) => images * Math.ceil(height / 2) * Math.ceil(width / 2)));
}

/** What would implement a kernel of oneDNN's, as it names it. */
export const implementationOf = (
  numerics: Numerics,
  kernel: keyof typeof operands,
  { ints, elements }: Geometry,
): string => numerics.implementation(kernel, operands[kernel](elements), ints);

/** By kernel: the bytes of an element of each operand, the bias or zero point included. */
const operands = {
  "convolution:integer": ({ x, w, y }: Geometry["elements"]) => [x, w, 4, 4 * y],
  "convolution:bfloat16": ({ x, w, y }: Geometry["elements"]) => [2 * x, 4 * w, 0, 4 * y],
  "convolutionInputGradient:bfloat16": ({ x, w, y }: Geometry["elements"]) => [2 * y, 4 * w, 2 * x],
  "convolutionWeightGradient:bfloat16": ({ x, w, y }: Geometry["elements"]) => [2 * y, 2 * x, 4 * w],
} as const;

/** oneDNN's plain loops, a hundred times slower than its kernels. */
export const isReference = (implementation: string): boolean => implementation.startsWith("ref");

/** Whether there is more than oneDNN's plain loops for it. */
export function isFast(numerics: Numerics, kernel: keyof typeof operands, geometry: Geometry): boolean {
  return isEmpty(geometry) || !isReference(implementationOf(numerics, kernel, geometry));
}

/** Whether oneDNN multiplies codes as matrices and takes zero points off in float32; it does on arm64. */
export const roundsSums = (numerics: Numerics, geometry: Geometry): boolean =>
  !isEmpty(geometry) && implementationOf(numerics, "convolution:integer", geometry).startsWith("gemm");

const isEmpty = ({ elements }: Geometry): boolean => Object.values(elements).includes(0);
