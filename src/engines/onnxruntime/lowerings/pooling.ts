// Gradients of pools.

import { sizeOf, type Tensor, tensorOf } from "../../../ir/tensor.ts";
import { numberAttribute, numbersAttribute } from "../../../ops/attributes.ts";
import { resolveWindow, spanOf, type Window } from "../../../ops/window.ts";
import { type LoweringContext, type LoweringRule, staticShapeOf } from "../lowering.ts";

/** MaxPool gives the index of each maximum; dy is added up there. */
const MaxPoolGradient: LoweringRule = ({ node, emit, input, type, set }) => {
  const shape = staticShapeOf(type(1));
  const [, indices] = emit.nodes("MaxPool", [input(1)], 2, node.attributes);
  const zeros = emit.constant(tensorOf(type(1).dtype, [1], [0]));
  const nothing = emit.node("Expand", [zeros, emit.ints([sizeOf(shape)])]);
  const flat = [emit.reshape(indices, [-1]), emit.reshape(input(0), [-1])];
  const sums = emit.node("ScatterElements", [nothing, ...flat], { axis: 0, reduction: "add" });
  set(0, emit.reshape(sums, shape));
};

/** Each window's share of dy, spread by a transposed convolution of ones over every channel by itself. */
const AveragePoolGradient: LoweringRule = (context) => {
  const { node, emit, input, type, set } = context;
  const [batch, channels, ...places] = staticShapeOf(type(0));
  const spatial = numbersAttribute(node, "spatial", []);
  const window = resolveWindow(node, numbersAttribute(node, "kernel_shape", []), spatial);
  const { kernel, strides, dilations, pads } = window;
  const counts = emit.constant(countsOf(context, window, places, spatial));
  const shares = emit.reshape(emit.node("Div", [input(0), counts]), [batch * channels, 1, ...places]);
  const ones = emit.constant(tensorOf("float32", [1, 1, ...kernel], new Float32Array(sizeOf(kernel)).fill(1)));
  const full = emit.node("ConvTranspose", [shares, ones], { kernel_shape: kernel, strides, dilations });
  const begins = spatial.map((_, axis) => -pads[axis]);
  const ends = spatial.map(
    (size, axis) => size + pads[axis] - ((places[axis] - 1) * strides[axis] + spanOf(window, axis)),
  );
  const cut = emit.node("Pad", [full, emit.ints([0, 0, ...begins, 0, 0, ...ends])]);
  set(0, emit.reshape(cut, [batch, channels, ...spatial]));
};

/** How many elements each window averages, [1, 1, places...]. */
function countsOf(
  { node }: LoweringContext,
  window: Window,
  places: readonly number[],
  spatial: readonly number[],
): Tensor {
  const countsPads = numberAttribute(node, "count_include_pad", 0) === 1;
  const perAxis = places.map((count, axis) => {
    const begin = countsPads ? -window.pads[axis] : 0;
    const end = spatial[axis] + (countsPads ? window.pads[axis + spatial.length] : 0);
    return Array.from({ length: count }, (_, place) => tapsWithin(window, axis, place, begin, end));
  });
  const products = perAxis.reduce<number[]>((all, axis) => all.flatMap((a) => axis.map((b) => a * b)), [1]);
  return tensorOf("float32", [1, 1, ...places], products);
}

function tapsWithin(window: Window, axis: number, place: number, begin: number, end: number): number {
  const start = place * window.strides[axis] - window.pads[axis];
  const taps = Array.from({ length: window.kernel[axis] }, (_, tap) => start + tap * window.dilations[axis]);
  return taps.filter((at) => at >= begin && at < end).length;
}

export const poolingLowerings = { MaxPoolGradient, AveragePoolGradient } satisfies Record<string, LoweringRule>;
