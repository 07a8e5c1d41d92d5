// Kernels of the operators that move, copy, cut and make values.
import { assert } from "../ir/errors.ts";
import { allocate, sizeOf, type Tensor, tensorOf, toNumbers, zeros } from "../ir/tensor.ts";
import { numberAttribute, numbersAttribute, stringAttribute, tensorAttribute } from "../ops/attributes.ts";
import { constantValue } from "../ops/constant-value.ts";
import { resolveAxis } from "../ops/operands.ts";
import { padSource } from "../ops/padding.ts";
import { padAmounts, rangeCount, reshapedShape } from "../ops/reshaping.ts";
import { type AxisSlice, resolveSlices } from "../ops/slicing.ts";
import {
  aroundAxis,
  broadcastOffsets,
  broadcastShape,
  offsetsOf,
  required,
  reshaped,
  steps,
  stridesOf,
  take,
} from "./index-maps.ts";
import type { Kernel } from "./kernel.ts";
import { asNumbers, fromNumbers } from "./numbers.ts";

const optionalNumbers = (input: Tensor | undefined): number[] | undefined => input && toNumbers(input);

const shapeKernel: Kernel = (inputs, node) => {
  const { shape } = required(inputs, 0);
  const part = shape.slice(numberAttribute(node, "start", 0), numberAttribute(node, "end", shape.length));
  return [tensorOf("int64", [part.length], part)];
};

const size: Kernel = (inputs) => [tensorOf("int64", [], [required(inputs, 0).data.length])];

const reshape: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  return [reshaped(x, reshapedShape(node, x.shape, toNumbers(required(inputs, 1))).map(Number))];
};

const flatten: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const axis = numberAttribute(node, "axis", 1);
  const split = axis < 0 ? axis + x.shape.length : axis;
  return [reshaped(x, [sizeOf(x.shape.slice(0, split)), sizeOf(x.shape.slice(split))])];
};

const squeeze: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const axes = optionalNumbers(inputs[1])?.map((axis) => resolveAxis(node, axis, x.shape.length));
  return [
    reshaped(
      x,
      x.shape.filter((dim, axis) => (axes ? !axes.includes(axis) : dim !== 1)),
    ),
  ];
};

const unsqueeze: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const list = toNumbers(required(inputs, 1));
  const rank = x.shape.length + list.length;
  const axes = list.map((axis) => resolveAxis(node, axis, rank));
  const rest = [...x.shape];
  return [
    reshaped(
      x,
      Array.from({ length: rank }, (_, axis) => (axes.includes(axis) ? 1 : Number(rest.shift()))),
    ),
  ];
};

export function transposed(x: Tensor, perm: readonly number[]): Tensor {
  const strides = stridesOf(x.shape);
  const shape = perm.map((axis) => x.shape[axis]);
  return take(x, shape, offsetsOf(perm.map((axis) => steps(x.shape[axis], strides[axis]))));
}

const transpose: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  return [transposed(x, numbersAttribute(node, "perm") ?? x.shape.map((_, i) => x.shape.length - 1 - i))];
};

const expand: Kernel = (inputs) => {
  const x = required(inputs, 0);
  const shape = broadcastShape([x.shape, toNumbers(required(inputs, 1))]);
  const offsets = broadcastOffsets(x.shape, shape);
  return [offsets ? take(x, shape, offsets) : x];
};

const tile: Kernel = (inputs) => {
  const x = required(inputs, 0);
  const repeats = toNumbers(required(inputs, 1));
  const strides = stridesOf(x.shape);
  const axes = x.shape.map((dim, axis) =>
    Array.from({ length: dim * repeats[axis] }, (_, i) => (i % dim) * strides[axis]),
  );
  return [
    take(
      x,
      axes.map((axis) => axis.length),
      offsetsOf(axes),
    ),
  ];
};

const concat: Kernel = (inputs, node) => {
  const tensors = inputs.map((_, i) => required(inputs, i));
  const [{ shape: first, dtype }] = tensors;
  const axis = resolveAxis(node, numberAttribute(node, "axis", 0), first.length);
  const total = tensors.reduce((sum, { shape }) => sum + shape[axis], 0);
  const { outer, inner } = aroundAxis(first, axis);
  const data = allocate(dtype, outer * total * inner);
  let start = 0;
  for (const part of tensors) {
    const width = part.shape[axis] * inner;
    for (let o = 0; o < outer; o++)
      data.set(part.data.subarray(o * width, (o + 1) * width) as never, o * total * inner + start);
    start += width;
  }
  return [{ dtype, shape: first.with(axis, total), data }];
};

const split: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const axis = resolveAxis(node, numberAttribute(node, "axis", 0), x.shape.length);
  const count = numberAttribute(node, "num_outputs", node.outputs.length);
  const even = Math.ceil(x.shape[axis] / count);
  const sizes =
    optionalNumbers(inputs[1]) ??
    Array.from({ length: count }, (_, i) => Math.max(0, Math.min(even, x.shape[axis] - i * even)));
  let start = 0;
  return sizes.map((count) => {
    const part = sliced(x, [{ axis, start, step: 1, count }]);
    start += count;
    return part;
  });
};

function sliceOffsets(
  shape: readonly number[],
  slices: readonly AxisSlice[],
): { shape: number[]; offsets: Int32Array } {
  const strides = stridesOf(shape);
  const axes = shape.map((dim, axis) => steps(dim, strides[axis]));
  for (const { axis, start, step, count } of slices) axes[axis] = steps(count, strides[axis], start, step);
  return { shape: axes.map((axis) => axis.length), offsets: offsetsOf(axes) };
}

function sliced(x: Tensor, slices: readonly AxisSlice[]): Tensor {
  const { shape, offsets } = sliceOffsets(x.shape, slices);
  return take(x, shape, offsets);
}

const slice: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const starts = toNumbers(required(inputs, 1));
  const ends = toNumbers(required(inputs, 2));
  const axes = optionalNumbers(inputs[3]) ?? starts.map((_, i) => i);
  const strides = optionalNumbers(inputs[4]) ?? starts.map(() => 1);
  return [sliced(x, resolveSlices(node, { starts, ends, axes, steps: strides }, x.shape))];
};

const sliceGradient: Kernel = (inputs, node) => {
  const dy = required(inputs, 0);
  const list = (name: string): readonly number[] => numbersAttribute(node, name, []);
  const shape = list("shape");
  const [starts, steps] = [list("starts"), list("steps")];
  const slices = list("axes").map(
    (axis, i): AxisSlice => ({ axis, start: starts[i], step: steps[i], count: dy.shape[axis] }),
  );
  const { offsets } = sliceOffsets(shape, slices);
  const dx = zeros(dy.dtype, shape);
  for (let i = 0; i < offsets.length; i++) dx.data[offsets[i]] = dy.data[i];
  return [dx];
};

const pad: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const mode = stringAttribute(node, "mode", "constant");
  const amounts = padAmounts({
    node,
    inputs: inputs.map((input) => input && { dtype: input.dtype, shape: input.shape }),
    elements: (i) => optionalNumbers(inputs[i]),
    constant: (i) => inputs[i],
  });
  assert(amounts, "Pad without pads");
  const strides = stridesOf(x.shape);
  const axes = x.shape.map((dim, axis) => {
    const [begin, end] = amounts[axis].map(Number);
    return Array.from({ length: dim + begin + end }, (_, i) => {
      const source = padSource(mode, i - begin, dim);
      return source < 0 ? -1 : source * strides[axis];
    });
  });
  const fill = inputs[2] ? inputs[2].data[0] : 0;
  return [
    take(
      x,
      axes.map((axis) => axis.length),
      offsetsOf(axes),
      fill,
    ),
  ];
};

const constantOfShape: Kernel = (inputs, node) => {
  const shape = toNumbers(required(inputs, 0));
  const value = tensorAttribute(node, "value") ?? zeros("float32", [1]);
  return [take(value, shape, new Int32Array(sizeOf(shape)))];
};

const range: Kernel = (inputs, node) => {
  const [start, limit, delta] = [0, 1, 2].map((i) => asNumbers(required(inputs, i))[0]);
  const count = rangeCount(node, start, limit, delta);
  return [
    fromNumbers(
      required(inputs, 0).dtype,
      [count],
      Float64Array.from({ length: count }, (_, i) => start + i * delta),
    ),
  ];
};

const depthToSpace: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const [n, c, h, w] = x.shape;
  const b = numberAttribute(node, "blocksize", 1);
  const channels = c / (b * b);
  const isDcr = stringAttribute(node, "mode", "DCR") === "DCR";
  const blocks = reshaped(x, isDcr ? [n, b, b, channels, h, w] : [n, channels, b, b, h, w]);
  const moved = transposed(blocks, isDcr ? [0, 3, 4, 1, 5, 2] : [0, 1, 4, 2, 5, 3]);
  return [reshaped(moved, [n, channels, h * b, w * b])];
};

const spaceToDepth: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const [n, c, h, w] = x.shape;
  const b = numberAttribute(node, "blocksize", 1);
  const moved = transposed(reshaped(x, [n, c, h / b, b, w / b, b]), [0, 3, 5, 1, 2, 4]);
  return [reshaped(moved, [n, c * b * b, h / b, w / b])];
};

const trilu: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const k = optionalNumbers(inputs[1])?.[0] ?? 0;
  const isUpper = numberAttribute(node, "upper", 1) === 1;
  const [rows, columns] = x.shape.slice(-2);
  const offsets = Int32Array.from({ length: x.data.length }, (_, i) => {
    const distance = (i % columns) - (Math.floor(i / columns) % rows);
    return (isUpper ? distance >= k : distance <= k) ? i : -1;
  });
  return [take(x, x.shape, offsets)];
};

export const shapeKernels = {
  Shape: shapeKernel,
  Size: size,
  Reshape: reshape,
  Flatten: flatten,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Transpose: transpose,
  Expand: expand,
  Tile: tile,
  Concat: concat,
  Split: split,
  Pad: pad,
  ConstantOfShape: constantOfShape,
  Constant: (_inputs, node) => [constantValue(node)],
  Range: range,
  Slice: slice,
  SliceGradient: sliceGradient,
  DepthToSpace: depthToSpace,
  SpaceToDepth: spaceToDepth,
  Trilu: trilu,
} satisfies Record<string, Kernel>;
