// Convolutions by oneDNN: images are channels last, weights as they are.
import type { Node } from "../../../ir/graph.ts";
import { sizeOf } from "../../../ir/tensor.ts";
import { numbersAttribute } from "../../../ops/attributes.ts";
import { convolutionWindow } from "../../../ops/convolution-shape.ts";
import { givenWindow } from "../../../ops/window.ts";
import { type Geometry, geometryOf } from "../convolution-geometry.ts";
import { convolutionKernel } from "../convolution-kernels.ts";
import { integerProductOf, multipliesIntegers } from "../integers.ts";
import { isSettled, type LoweringContext, type NativeOp } from "../lowering.ts";
import { bytesOf, fixed, type Value } from "../plan.ts";
import { weightCodes } from "./quantization.ts";

const Conv: NativeOp = {
  lower: (lowering) => {
    const { graph, node, uses, numerics, optional, input, output, emit, narrowed } = lowering;
    if (multipliesIntegers(node, graph, uses, numerics)) return lowerIntegers(lowering);
    const x = input(0, "channelsLast");
    const w = input(1, "plain");
    const y = output(0, "channelsLast");
    if (!y) return;
    const window = convolutionWindow(node, x.shape, fixed(w.shape));
    const geometry = geometryOf(node, window, fixed(x.shape), fixed(y.shape));
    const mayNarrow = numerics.bfloat16 && isImage(x);
    const kernel = convolutionKernel(numerics, node, { direction: "forward", geometry, mayNarrow });
    emit(kernel, { inputs: [isNarrow(kernel) ? narrowed(x) : x, w, optional(2)], outputs: [y], ints: geometry.ints });
  },
};

/** Whether a kernel reads bfloat16. */
const isNarrow = (kernel: string): boolean => /:(bfloat16|dynamic)$/.test(kernel);

/** Sums of products of codes, and then their scale: exact until then. */
function lowerIntegers(lowering: LoweringContext): void {
  const { node, optional, output, scratch, emit, emitFused } = lowering;
  const x = imagesOf(lowering, 0);
  const y = output(0, "channelsLast");
  if (!y || !x.codes) return;
  const { codes, scale } = weightCodes(lowering, node.inputs[1]);
  const window = convolutionWindow(node, x.shape, fixed(codes.shape));
  const { ints } = geometryOf(node, window, fixed(x.shape), fixed(y.shape));
  const sums = scratch("int32", y.shape, "channelsLast");
  emit("convolution:integer", { inputs: [x, codes, x.codes.zero], outputs: [sums], ints });
  const width = fixed(y.shape)[1];
  const broadcast = [x.codes.scale, scale, optional(2)];
  emitFused("rescale", { elementwise: [sums], broadcast, results: [y], ints: [sizeOf(fixed(scale.shape))], width });
}

const ConvGradientInput: NativeOp = {
  lower: (lowering) => {
    const { graph, node, uses, numerics, late, input, stored, output, scratch, define, narrowed, emit, as } = lowering;
    const dx = output(0, "channelsLast");
    if (!dx) return;
    const dy = as(stored(0), "channelsLast");
    const window = convolutionWindow(node, dx.shape, fixed(graph.values.get(node.inputs[1])?.shape ?? []));
    const geometry = geometryOf(node, window, fixed(dx.shape), fixed(dy.shape));
    const { ints } = geometry;
    const mayNarrow = numerics.bfloat16 && isImage(dy);
    const forward = mayNarrow ? integerProductOf(node.inputs[1], graph, uses, numerics, late) : undefined;
    const hasCodes = forward !== undefined;
    const kernel = convolutionKernel(numerics, node, { direction: "inputGradient", geometry, mayNarrow, hasCodes });
    if (!isNarrow(kernel))
      return emit(kernel, { inputs: [input(0, "channelsLast"), input(1, "plain")], outputs: [dx], ints });
    const narrow = scratch("bfloat16", dx.shape, "channelsLast");
    const outputs = [narrow];
    if (forward && kernel === "convolutionInputGradient:dynamic") {
      const { codes, scale } = weightCodes(lowering, forward.inputs[1]);
      emit(kernel, { inputs: [narrowed(dy), codes, scale], outputs, ints: [...ints, sizeOf(fixed(scale.shape))] });
    } else emit(kernel, { inputs: [narrowed(dy), input(1, "plain")], outputs, ints });
    define(0, narrow);
  },
};

const ConvGradientWeight: NativeOp = {
  integers: [2],
  takesRows: true,
  accepts: (node, graph, open) => [0, 1].every((i) => isSettled(graph, node.inputs[i], open)),
  lower: (lowering) => {
    const { node, numerics, input, stored, narrowed, widened, optional, output, emit, size, maxSize } = lowering;
    if ([0, 1].some((i) => sizeOf(fixed(stored(i).shape)) === 0)) return lowerZeros(lowering);
    const rows = optional(2);
    const geometry = weightGradientGeometry(node, stored(1), stored(0));
    const kernel = convolutionKernel(numerics, node, {
      direction: "weightGradient",
      geometry,
      mayNarrow: numerics.bfloat16 && isImage(stored(0)),
      hasCodes: stored(1).codes !== undefined,
      ...(rows ? { maxRows: maxSize(rows.shape[0]) } : {}),
    });
    if (kernel.startsWith("weightGradient"))
      return lowerOwnWeightGradient(lowering, kernel, isNarrow(kernel) ? narrowed : widened);
    const [dy, x] = [0, 1].map((i) => (isNarrow(kernel) ? narrowed(imagesOf(lowering, i)) : input(i, "channelsLast")));
    const { ints } = geometry;
    const dw = output(0);
    if (!rows) return emit(kernel, { inputs: [dy, x], outputs: [dw], ints });
    const [count] = rows.shape;
    emit(kernel.replace("Weight", "WeightRows"), {
      inputs: [dy, x, rows],
      outputs: [dw],
      ints: [...ints, size(count), maxSize(count)],
    });
  },
};

/** Sums over nothing. */
function lowerZeros({ output, emit }: LoweringContext): void {
  const dw = output(0);
  if (dw) emit("fill4", { inputs: [undefined], outputs: [dw], ints: [dw.slot.bytes / bytesOf(dw.dtype)] });
}

/** From codes as they are stored, or from what dy is loaded as. */
function lowerOwnWeightGradient(lowering: LoweringContext, kernel: string, load: (value: Value) => Value): void {
  const { node, optional, output, emit, size, maxSize } = lowering;
  const dy = load(imagesOf(lowering, 0));
  const given = imagesOf(lowering, 1);
  const x = given.codes ? given : load(given);
  const rows = optional(2);
  const count = rows?.shape[0] ?? dy.shape[1];
  const ints = [...weightGradientGeometry(node, x, dy).ints, x.codes ? 1 : 0, size(count), maxSize(count)];
  const inputs = [dy, x, x.codes?.zero, x.codes?.scale, rows];
  emit(kernel, { inputs, outputs: [output(0)], ints });
}

const weightGradientGeometry = (node: Node, x: Value, dy: Value): Geometry =>
  geometryOf(node, givenWindow(node, numbersAttribute(node, "kernel_shape", [])), fixed(x.shape), fixed(dy.shape));

/** An input as it is stored, channels last. */
const imagesOf = ({ stored, as }: LoweringContext, i: number): Value => as(stored(i), "channelsLast");

const isImage = ({ shape }: Value): boolean => shape.length === 4;

export const convolutionOps: Readonly<Record<string, NativeOp>> = { Conv, ConvGradientInput, ConvGradientWeight };
