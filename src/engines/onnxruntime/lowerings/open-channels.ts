// The weight gradient of a convolution whose input has as many channels as the run chooses, perhaps none: some rows of
// ConvTranspose's weight, where x and dy trade places.
import { assert } from "../../../ir/errors.ts";
import { sizeOf } from "../../../ir/tensor.ts";
import { numberAttribute, numbersAttribute } from "../../../ops/attributes.ts";
import { givenWindow, spanOf } from "../../../ops/window.ts";
import { type LoweringContext, matMulTransposed, staticShapeOf } from "../lowering.ts";

/** One product of dy with the shifted inputs per tap; the channels stay an open size throughout. */
export function weightGradientOfOpenChannels({ node, emit, type, input, has, set }: LoweringContext): void {
  assert(numberAttribute(node, "group", 1) === 1 && !has(2), "open channels come without groups and rows");
  const [batch, rows, ...places] = staticShapeOf(type(0));
  const sizes = staticShapeOf({ ...type(1), shape: type(1).shape.slice(2) });
  const window = givenWindow(node, numbersAttribute(node, "kernel_shape", []));
  const { kernel, strides, dilations, pads } = window;
  const reach = places.map((count, axis) => (count - 1) * strides[axis] + spanOf(window, axis));
  const ends = sizes.map((size, axis) => reach[axis] - size - pads[axis]);
  const padding = emit.ints([0, 0, ...pads.slice(0, sizes.length), 0, 0, ...ends]);
  const padded = emit.node("Pad", [input(1), padding]);
  const dy = emit.reshape(input(0), [batch, rows, sizeOf(places)]);
  const axes = emit.ints(sizes.map((_, axis) => axis + 2));
  const tapOf = (offsets: readonly number[]): string => {
    const starts = offsets.map((offset, axis) => offset * dilations[axis]);
    const stops = starts.map((start, axis) => start + (places[axis] - 1) * strides[axis] + 1);
    const met = emit.node("Slice", [padded, emit.ints(starts), emit.ints(stops), axes, emit.ints(strides)]);
    const flat = emit.reshape(met, [0, 0, sizeOf(places)]);
    const perImage = matMulTransposed(emit, dy, flat, { dtype: type(0).dtype, rank: 3 });
    const sum = emit.node("ReduceSum", [perImage, emit.ints([0])], { keepdims: 0 });
    return emit.node("Unsqueeze", [sum, emit.ints([2])]);
  };
  set(0, emit.reshape(emit.node("Concat", offsetsOf(kernel).map(tapOf), { axis: 2 }), [0, 0, ...kernel]));
}

/** Every tap of a kernel, row-major. */
function offsetsOf(kernel: readonly number[]): number[][] {
  return kernel.reduce<number[][]>(
    (offsets, size) => offsets.flatMap((offset) => Array.from({ length: size }, (_, i) => [...offset, i])),
    [[]],
  );
}
