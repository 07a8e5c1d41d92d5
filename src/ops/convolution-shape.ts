// Shapes of convolutions, of transposed ones and of their gradients.
import { assert } from "../ir/errors.ts";
import type { Dim, Node } from "../ir/graph.ts";
import { mismatch, numberAttribute, numbersAttribute, printShape, unsupported } from "./attributes.ts";
import { isStatic } from "./dims.ts";
import { autoPad, givenWindow, resolveWindow, spanOf, splitPads, type Window } from "./window.ts";

export function groupOf(node: Node): number {
  const group = numberAttribute(node, "group", 1);
  if (group < 1) throw mismatch(node, `group is ${group}; expected 1 or more.`);
  return group;
}

/** Weights have fixed sizes. */
export function staticShape(node: Node, what: string, shape: readonly Dim[]): readonly number[] {
  if (isStatic(shape)) return shape;
  throw unsupported(node, `its ${what} ${printShape(shape)} has symbolic sizes; expected fixed ones.`);
}

function checkAttributes(node: Node, w: readonly number[]): void {
  const choice = autoPad(node);
  if (choice !== "NOTSET" && node.attributes["pads"] !== undefined)
    throw mismatch(node, `it has both pads and auto_pad ${choice}; expected one of them.`);
  const kernel = numbersAttribute(node, "kernel_shape");
  if (kernel && String(kernel) !== String(w.slice(2)))
    throw mismatch(node, `kernel_shape is ${printShape(kernel)}, its weight ${printShape(w)}.`);
}

/** The window of Conv over x [N, C, ...] with w [M, C/group, ...]. */
export function convolutionWindow(node: Node, x: readonly Dim[], w: readonly number[]): Window {
  if (x.length !== w.length || x.length < 3 || x.length > 5)
    throw mismatch(
      node,
      `its input ${printShape(x)} and weight ${printShape(w)} do not fit; expected 3 to 5 axes of both.`,
    );
  const group = groupOf(node);
  if (typeof x[1] === "number" && x[1] !== w[1] * group)
    throw mismatch(
      node,
      `its input ${printShape(x)} has ${x[1]} channels; its weight ${printShape(w)} in ${group} group(s) wants ${w[1] * group}.`,
    );
  if (w[0] % group !== 0) throw mismatch(node, `${w[0]} output channels do not divide into ${group} groups.`);
  checkAttributes(node, w);
  return resolveWindow(node, w.slice(2), x.slice(2), "allowed");
}

/** The output of ConvTranspose along one axis before padding is taken away. */
function fullSize(window: Window, size: number, outputPadding: number, axis: number): number {
  return window.strides[axis] * (size - 1) + outputPadding + spanOf(window, axis);
}

export interface Transposed {
  /** The window of the convolution whose input gradient this is: from the output back to x. */
  readonly window: Window;
  readonly spatial: readonly number[];
}

function transposedPads(node: Node, window: Window, full: readonly number[], outputs: readonly number[]): number[] {
  const totals = full.map((size, axis) => size - outputs[axis]);
  if (totals.some((total, axis) => -total >= window.strides[axis]))
    throw unsupported(
      node,
      `output sizes ${printShape(outputs)} exceed the ${printShape(full)} that its window reaches.`,
    );
  // What the window does not reach at the end is padding of the output: the bias alone.
  const padding = totals.map((total) => Math.max(0, total));
  const pads = splitPads(padding, autoPad(node) === "SAME_UPPER" ? "end" : "begin");
  assert(pads.length === window.pads.length, `pads of ${node.name}`);
  return pads;
}

/** The geometry of ConvTranspose from x [N, C, ...] with w [C, M/group, ...]. */
export function transposedConvolution(node: Node, x: readonly Dim[], w: readonly number[]): Transposed {
  if (x.length !== w.length || x.length < 3 || x.length > 5 || (typeof x[1] === "number" && x[1] !== w[0]))
    throw mismatch(node, `its input ${printShape(x)} and weight ${printShape(w)} do not fit.`);
  groupOf(node);
  checkAttributes(node, w);
  const window = givenWindow(node, w.slice(2));
  const outputPadding = numbersAttribute(
    node,
    "output_padding",
    window.kernel.map(() => 0),
  );
  if (outputPadding.length !== window.kernel.length)
    throw mismatch(node, `output_padding is ${printShape(outputPadding)}; expected ${window.kernel.length} sizes.`);
  if (outputPadding.some((padding, axis) => padding >= window.strides[axis] && padding > 0))
    throw unsupported(
      node,
      `output_padding ${printShape(outputPadding)} is not below strides ${printShape(window.strides)}.`,
    );
  const sizes = staticShape(node, "input's spatial sizes", x.slice(2));
  const full = sizes.map((size, axis) => fullSize(window, size, outputPadding[axis], axis));
  const requested = numbersAttribute(node, "output_shape");
  if (requested && requested.length !== sizes.length)
    throw mismatch(node, `output_shape is ${printShape(requested)}; expected ${sizes.length} sizes.`);
  const mode = autoPad(node);
  const same = mode.startsWith("SAME") ? sizes.map((size, axis) => size * window.strides[axis]) : undefined;
  const target = requested ?? same;
  if (target) return { window: { ...window, pads: transposedPads(node, window, full, target) }, spatial: target };
  const pads = mode === "VALID" ? window.pads.map(() => 0) : window.pads;
  const spatial = full.map((size, axis) => size - pads[axis] - pads[axis + sizes.length]);
  return { window: { ...window, pads }, spatial };
}
