// A convolution's numbers as native/src/steps/convolution.cpp reads them, and what would implement it.
import type { Node } from "../../ir/graph.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { groupOf } from "../../ops/convolution-shape.ts";
import type { Window } from "../../ops/window.ts";
import type { Numerics } from "./lowering.ts";
import { list } from "./plan.ts";

export interface Geometry {
  readonly ints: readonly number[];
  /** Whether it and its gradients can be computed by Winograd's algorithm, and have enough tiles to be worth transforming the weights. */
  readonly suitsWinograd: boolean;
  /** Whether it has channels enough for Winograd's algorithm in bfloat16 too: multiplications cost half there, the transforms what they do in float32. */
  readonly paysWinograd: boolean;
  /** Elements of x, w and y, gradients in their places. */
  readonly elements: { readonly x: number; readonly w: number; readonly y: number };
}

export function geometryOf(node: Node, window: Window, x: readonly number[], y: readonly number[]): Geometry {
  const { kernel, strides, dilations, pads } = window;
  const [begin, end] = [pads.slice(0, kernel.length), pads.slice(kernel.length)];
  const lists = [x.slice(2), y.slice(2), kernel, strides, dilations, begin, end];
  const w = (y[1] * x[1] * sizeOf(kernel)) / groupOf(node);
  const suits = groupOf(node) === 1 && suitsWinograd(window, x, y);
  return {
    ints: [x[0], groupOf(node), x[1], y[1], ...lists.flatMap(list)],
    suitsWinograd: suits,
    paysWinograd: suits && (x[1] * y[1]) / (x[1] + y[1]) >= minMultiplications,
    elements: { x: sizeOf(x), w, y: sizeOf(y) },
  };
}

/** Transforming a weight takes about as long as multiplying it with 30 tiles. */
const minTiles = 128;

/** Per transformed value, of input gradients: less than that and oneDNN's direct ones are faster (AMD Zen 4). */
const minMultiplications = 8;

/** 3 × 3 windows side by side, and whole vectors of channels. */
function suitsWinograd({ kernel, strides, dilations }: Window, x: readonly number[], y: readonly number[]): boolean {
  const isPlain = [...strides, ...dilations].every((each) => each === 1);
  if (kernel.join() !== "3,3" || !isPlain || x[1] % 16 !== 0 || y[1] % 16 !== 0) return false;
  const tiles = [x, y].map(([images, , height, width]) => images * Math.ceil(height / 2) * Math.ceil(width / 2));
  return Math.min(...tiles) >= minTiles;
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
  const isEmpty = Object.values(geometry.elements).includes(0);
  return isEmpty || !isReference(implementationOf(numerics, kernel, geometry));
}
