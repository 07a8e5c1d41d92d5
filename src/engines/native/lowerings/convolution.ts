// Convolutions by oneDNN: images are channels last, weights as they are.
import type { Node } from "../../../ir/graph.ts";
import { numbersAttribute } from "../../../ops/attributes.ts";
import { convolutionWindow, groupOf } from "../../../ops/convolution-shape.ts";
import { givenWindow, type Window } from "../../../ops/window.ts";
import type { NativeOp } from "../lowering.ts";
import { fixed, list } from "../plan.ts";

/** As native/src/steps/convolution.cpp reads it. */
function geometry(node: Node, window: Window, x: readonly number[], y: readonly number[]): readonly number[] {
  const { kernel, strides, dilations, pads } = window;
  const [begin, end] = [pads.slice(0, kernel.length), pads.slice(kernel.length)];
  const lists = [x.slice(2), y.slice(2), kernel, strides, dilations, begin, end];
  return [x[0], groupOf(node), x[1], y[1], ...lists.flatMap(list)];
}

const Conv: NativeOp = {
  lower: ({ node, input, optional, output, emit }) => {
    const x = input(0, "channelsLast");
    const w = input(1, "plain");
    const y = output(0, "channelsLast");
    if (!y) return;
    const window = convolutionWindow(node, x.shape, fixed(w.shape));
    const ints = geometry(node, window, fixed(x.shape), fixed(y.shape));
    emit("convolution", { inputs: [x, w, optional(2)], outputs: [y], ints });
  },
};

const ConvGradientInput: NativeOp = {
  lower: ({ node, input, output, emit }) => {
    const dy = input(0, "channelsLast");
    const w = input(1, "plain");
    const dx = output(0, "channelsLast");
    if (!dx) return;
    const window = convolutionWindow(node, dx.shape, fixed(w.shape));
    const ints = geometry(node, window, fixed(dx.shape), fixed(dy.shape));
    emit("convolutionInputGradient", { inputs: [dy, w], outputs: [dx], ints });
  },
};

const ConvGradientWeight: NativeOp = {
  integers: [2],
  takesRows: true,
  lower: ({ node, input, optional, output, emit, size, most }) => {
    const dy = input(0, "channelsLast");
    const x = input(1, "channelsLast");
    const rows = optional(2);
    const window = givenWindow(node, numbersAttribute(node, "kernel_shape", []));
    const ints = geometry(node, window, fixed(x.shape), fixed(dy.shape));
    const dw = output(0);
    if (!rows) return emit("convolutionWeightGradient", { inputs: [dy, x], outputs: [dw], ints });
    const [count] = rows.shape;
    emit("convolutionWeightRowsGradient", {
      inputs: [dy, x, rows],
      outputs: [dw],
      ints: [...ints, size(count), most(count)],
    });
  },
};

export const convolutionOps: Readonly<Record<string, NativeOp>> = { Conv, ConvGradientInput, ConvGradientWeight };
