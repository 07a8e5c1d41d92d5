// The windows of pools.
import type { Dim, Node } from "../ir/graph.ts";
import { mismatch, numberAttribute, numbersAttribute, printShape } from "./attributes.ts";
import { resolveWindow, type Window, windowAttributes } from "./window.ts";

/** The window of a pool over x [N, C, ...]. */
export function poolWindow(node: Node, x: readonly Dim[]): Window {
  const kernel = numbersAttribute(node, "kernel_shape", []);
  if (x.length !== kernel.length + 2 || x.length < 3 || x.length > 5)
    throw mismatch(node, `kernel_shape ${printShape(kernel)} does not fit its input ${printShape(x)}.`);
  const window = resolveWindow(node, kernel, x.slice(2), "refused");
  if (window.pads.some((pad, i) => pad >= window.kernel[i % kernel.length]))
    throw mismatch(
      node,
      `pads ${printShape(window.pads)} reach kernel_shape ${printShape(kernel)}: a window would see padding alone.`,
    );
  return window;
}

/** The attributes of a pool's gradient. */
export const poolAttributes = (node: Node, x: readonly Dim[]) => ({
  ...windowAttributes(poolWindow(node, x)),
  ceil_mode: numberAttribute(node, "ceil_mode", 0),
});
