// The geometry of operators that slide a window over spatial axes: convolutions and pools.
import type { Dim, Node } from "../ir/graph.ts";
import { choiceAttribute, mismatch, numberAttribute, numbersAttribute, printShape, unsupported } from "./attributes.ts";
import { unknownDim } from "./operands.ts";

/** Per spatial axis; `pads` holds all beginnings, then all ends, as ONNX does. */
export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
}

/** How many input positions a window spans. */
export const spanOf = ({ kernel, dilations }: Window, axis: number): number => (kernel[axis] - 1) * dilations[axis] + 1;

function listOf(node: Node, name: string, length: number, fallback: number): readonly number[] {
  const list = numbersAttribute(node, name) ?? Array.from({ length }, () => fallback);
  if (list.length === length) return list;
  throw mismatch(node, `${name} is ${printShape(list)}; expected ${length} numbers.`);
}

/** As the native engine's kernels take: more than any image has pixels along a side. */
const maxValue = 2 ** 24;

function atLeast(least: 0 | 1, node: Node, name: string, list: readonly number[]): readonly number[] {
  if (list.every((value) => Number.isInteger(value) && value >= least && value <= maxValue)) return list;
  if (list.some((value) => value > maxValue))
    throw mismatch(node, `${name} is ${printShape(list)}; expected numbers up to ${maxValue}.`);
  throw mismatch(node, `${name} is ${printShape(list)}; expected numbers of at least ${least}.`);
}

/** Strides, dilations and pads as the attributes give them, `auto_pad` not yet applied. */
export function givenWindow(node: Node, kernel: readonly number[]): Window {
  const axes = kernel.length;
  return {
    kernel: atLeast(1, node, "kernel_shape", kernel),
    strides: atLeast(1, node, "strides", listOf(node, "strides", axes, 1)),
    dilations: atLeast(1, node, "dilations", listOf(node, "dilations", axes, 1)),
    pads: atLeast(0, node, "pads", listOf(node, "pads", 2 * axes, 0)),
  };
}

export const autoPad = (node: Node): "NOTSET" | "VALID" | "SAME_UPPER" | "SAME_LOWER" =>
  choiceAttribute(node, "auto_pad", ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]);

/** Splits a total padding per axis: the odd one goes to the end, or to the beginning for SAME_LOWER. */
export function splitPads(totals: readonly number[], extraAt: "begin" | "end"): number[] {
  const small = totals.map((total) => Math.floor(total / 2));
  const large = totals.map((total) => Math.ceil(total / 2));
  return extraAt === "end" ? [...small, ...large] : [...large, ...small];
}

/** The padding that auto_pad SAME asks for along one axis; negative where windows leave gaps at the end. */
function sameTotal(node: Node, window: Window, size: Dim, axis: number): number {
  const stride = window.strides[axis];
  if (typeof size === "number") return (Math.ceil(size / stride) - 1) * stride + spanOf(window, axis) - size;
  if (stride === 1) return spanOf(window, axis) - 1;
  throw unsupported(
    node,
    `auto_pad SAME with stride ${stride} needs the size of "${size}". Give the input a fixed size.`,
  );
}

/**
 * The window over inputs of these spatial sizes, with `auto_pad` turned into pads. `gaps`: what becomes of SAME windows
 * that end before the input does: convolutions start at its first element, pools differ between runtimes.
 */
export function resolveWindow(
  node: Node,
  kernel: readonly number[],
  spatial: readonly Dim[],
  gaps: "allowed" | "refused" = "allowed",
): Window {
  if (spatial.length !== kernel.length)
    throw mismatch(node, `its kernel ${printShape(kernel)} does not fit the spatial sizes ${printShape(spatial)}.`);
  const window = givenWindow(node, kernel);
  const mode = autoPad(node);
  if (mode === "NOTSET") return window;
  if (mode === "VALID") return { ...window, pads: window.pads.map(() => 0) };
  const totals = spatial.map((size, axis) => sameTotal(node, window, size, axis));
  if (gaps === "refused" && totals.some((total) => total < -1))
    throw unsupported(
      node,
      `auto_pad ${mode} with kernel ${printShape(kernel)} and strides ${printShape(window.strides)} leaves gaps, which runtimes place differently. Use pads instead of auto_pad.`,
    );
  const padding = totals.map((total) => Math.max(0, total));
  return { ...window, pads: splitPads(padding, mode === "SAME_UPPER" ? "end" : "begin") };
}

function outputSize(node: Node, window: Window, size: number, axis: number): number {
  const stride = window.strides[axis];
  const begin = window.pads[axis];
  const end = window.pads[axis + window.kernel.length];
  const room = size + begin + end - spanOf(window, axis);
  if (room < 0)
    throw mismatch(
      node,
      `a window of ${spanOf(window, axis)} does not fit spatial axis ${axis} of size ${size} with pads ${begin} and ${end}.`,
    );
  const useCeil = numberAttribute(node, "ceil_mode", 0) === 1 && !autoPad(node).startsWith("SAME");
  if (!useCeil) return Math.floor(room / stride) + 1;
  const count = Math.ceil(room / stride) + 1;
  // A last window that would start in the padding at the end is left out.
  return (count - 1) * stride >= size + begin ? count - 1 : count;
}

/** Spatial sizes of the output. */
export function windowOutput(node: Node, window: Window, spatial: readonly number[]): number[];
export function windowOutput(node: Node, window: Window, spatial: readonly Dim[]): Dim[];
export function windowOutput(node: Node, window: Window, spatial: readonly Dim[]): Dim[] {
  return spatial.map((size, axis) => {
    if (typeof size === "number") return outputSize(node, window, size, axis);
    const padding = window.pads[axis] + window.pads[axis + window.kernel.length];
    const keepsSize = window.strides[axis] === 1 && padding === spanOf(window, axis) - 1;
    return keepsSize ? size : unknownDim(node, axis + 2);
  });
}

/** The attributes of a gradient operator: everything explicit. */
export const windowAttributes = ({ kernel, strides, dilations, pads }: Window) => ({
  kernel_shape: kernel,
  strides,
  dilations,
  pads,
});
