// Batch normalization by the batch's own statistics, and its gradient.

import type { DType } from "../../../ir/dtype.ts";
import { sizeOf, tensorOf } from "../../../ir/tensor.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { blockedAffine } from "../blocked-convolution.ts";
import { type BlockLayout, canBlock, type LoweringContext, type LoweringRule, staticShapeOf } from "../lowering.ts";

interface Channels {
  readonly context: LoweringContext;
  readonly layout: BlockLayout;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly channels: number;
  /** Elements per channel. */
  readonly count: number;
}

function channelsOf(context: LoweringContext, x: number): Channels {
  const { block, type, hasLayout } = context;
  const shape = staticShapeOf(type(x));
  const layout = canBlock(type(x), block) && hasLayout(x, "blocked") ? "blocked" : "plain";
  return { context, layout, dtype: type(x).dtype, shape, channels: shape[1], count: sizeOf(shape) / shape[1] };
}

/** Σ over everything but the channels, as [C]. */
function sumPerChannel({ context: { emit, block }, layout, shape, channels }: Channels, value: string): string {
  const [batch, , ...places] = shape;
  if (layout === "plain") {
    const axes = shape.map((_, axis) => axis).filter((axis) => axis !== 1);
    return emit.node("ReduceSum", [value, emit.ints(axes)], { keepdims: 0 });
  }
  const blocks = emit.reshape(value, [batch, channels / block, sizeOf(places), block]);
  const perImage = emit.node("ReduceSum", [blocks, emit.ints([2])], { keepdims: 0 });
  return emit.reshape(emit.node("ReduceSum", [perImage, emit.ints([0])], { keepdims: 0 }), [channels]);
}

/** x less a number per channel, in the shape that is summed. */
function centred({ context: { emit, block }, layout, shape, channels }: Channels, x: string, mean: string): string {
  const [batch, , ...places] = shape;
  if (layout === "plain") return emit.node("Sub", [x, emit.reshape(mean, [channels, ...places.map(() => 1)])]);
  const blocks = emit.reshape(x, [batch, channels / block, sizeOf(places), block]);
  return emit.node("Sub", [blocks, emit.reshape(mean, [channels / block, 1, block])]);
}

/** scale · x + shift (+ sum) per channel. */
function affine(
  { context: { emit }, layout, dtype, channels, shape }: Channels,
  { x, scale, shift, sum }: { x: string; scale: string; shift: string; sum?: string },
): string {
  if (layout === "blocked")
    return blockedAffine(emit, { x, scale, shift, channels, ...(sum === undefined ? {} : { sum }) });
  const wide = [channels, ...shape.slice(2).map(() => 1)];
  const scaled = dtype === "float32" ? normalized(emit, { x, scale, shift, channels }) : undefined;
  const result =
    scaled ?? emit.node("Add", [emit.node("Mul", [x, emit.reshape(scale, wide)]), emit.reshape(shift, wide)]);
  return sum === undefined ? result : emit.node("Add", [result, sum]);
}

/** ONNX's BatchNormalization is one threaded pass; with mean 0 and variance 1 it is scale · x + shift. */
function normalized(
  emit: LoweringContext["emit"],
  { x, scale, shift, channels }: { x: string; scale: string; shift: string; channels: number },
): string {
  const zero = emit.constant(tensorOf("float32", [channels], new Float32Array(channels)));
  const one = emit.constant(tensorOf("float32", [channels], new Float32Array(channels).fill(1)));
  return emit.node("BatchNormalization", [x, scale, shift, zero, one], { epsilon: 0 });
}

const BatchNormalizationTraining: LoweringRule = (context) => {
  const { node, emit, input, set } = context;
  const here = channelsOf(context, 0);
  const { dtype, layout, count } = here;
  const of = (value: number): string => emit.scalar(value, dtype);
  const x = input(0, layout);
  const share = of(1 / count);
  const mean = emit.node("Mul", [sumPerChannel(here, x), share]);
  // E[x²] − mean² in float32 loses the variance of a channel whose mean is hundreds of deviations away.
  const deviations = centred(here, x, mean);
  const squares = emit.node("Mul", [deviations, deviations]);
  const variance = emit.node("Mul", [sumPerChannel(here, squares), share]);
  const deviation = emit.node("Sqrt", [emit.node("Add", [variance, of(numberAttribute(node, "epsilon", 1e-5))])]);
  const scale = emit.node("Div", [input(1), deviation]);
  const shift = emit.node("Sub", [input(2), emit.node("Mul", [scale, mean])]);
  set(0, affine(here, { x, scale, shift }), layout);
  set(1, mean);
  set(2, variance);
};

/** x̂ = (x − mean)/σ: dbeta = Σ dy; dgamma = Σ dy·x̂; dx = gamma/σ · (dy − dbeta/n − x̂·dgamma/n) */
const BatchNormalizationTrainingGradient: LoweringRule = (context) => {
  const { node, emit, input, set, wants } = context;
  const here = channelsOf(context, 1);
  const { dtype, layout, count } = here;
  const call = (op: string, ...inputs: string[]): string => emit.node(op, inputs);
  const of = (value: number): string => emit.scalar(value, dtype);
  const dy = input(0, layout);
  const x = input(1, layout);
  const mean = input(3);
  const dbeta = sumPerChannel(here, dy);
  const product = sumPerChannel(here, call("Mul", dy, x));
  const deviation = call("Sqrt", call("Add", input(4), of(numberAttribute(node, "epsilon", 1e-5))));
  const dgamma = call("Div", call("Sub", product, call("Mul", mean, dbeta)), deviation);
  set(1, dgamma);
  set(2, dbeta);
  if (!wants(0)) return;
  const scale = call("Div", input(2), deviation);
  const share = call("Mul", scale, of(-1 / count));
  const slope = call("Div", call("Mul", share, dgamma), deviation);
  const shift = call("Sub", call("Mul", share, dbeta), call("Mul", slope, mean));
  set(0, twoAffine(here, { dy, scale, x, slope, shift }), layout);
};

/** scale · dy + slope · x + shift, per channel. */
function twoAffine(
  here: Channels,
  { dy, scale, x, slope, shift }: { dy: string; scale: string; x: string; slope: string; shift: string },
): string {
  const {
    context: { emit },
    layout,
    channels,
    dtype,
    shape,
  } = here;
  const statistics = affine(here, { x, scale: slope, shift });
  if (layout === "blocked") {
    const zero = emit.constant(tensorOf(dtype, [channels], new Float32Array(channels)));
    return affine(here, { x: dy, scale, shift: zero, sum: statistics });
  }
  const wide = [channels, ...shape.slice(2).map(() => 1)];
  return emit.node("Add", [emit.node("Mul", [dy, emit.reshape(scale, wide)]), statistics]);
}

export const normalizationLowerings = {
  BatchNormalizationTraining,
  BatchNormalizationTrainingGradient,
} satisfies Record<string, LoweringRule>;
