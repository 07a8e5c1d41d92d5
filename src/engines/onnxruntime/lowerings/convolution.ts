// Conv and its gradients: in blocks of channels where ONNX Runtime has them, else by its plain convolutions and products.
import { numberAttribute } from "../../../ops/attributes.ts";
import { convolutionWindow } from "../../../ops/convolution-shape.ts";
import { isStatic } from "../../../ops/dims.ts";
import { givenWindow, spanOf, type Window } from "../../../ops/window.ts";
import { blockedConv, blockFilter } from "../blocked-convolution.ts";
import { canBlock, type LoweringContext, type LoweringRule, staticShapeOf, toPlain } from "../lowering.ts";
import { passThrough } from "./elementwise.ts";
import { weightGradientOfOpenChannels } from "./open-channels.ts";
import {
  canMoveRows,
  weightGradientByProduct,
  weightGradientInBlocks,
  weightGradientOfRows,
} from "./weight-gradient.ts";

const isPlane = ({ type }: LoweringContext, input: number): boolean =>
  type(input).dtype === "float32" && type(input).shape.length === 4 && isStatic(type(input).shape);

const isUngrouped = ({ node }: LoweringContext): boolean => numberAttribute(node, "group", 1) === 1;

/** Blocks pay from one block of output channels on; inputs lie in whole blocks or, fewer than one, plainly. */
function fitsBlocks(context: LoweringContext, inputChannels: number, outputChannels: number): boolean {
  const { block } = context;
  if (block === 0 || !isPlane(context, 0) || !isUngrouped(context)) return false;
  return outputChannels >= block && (inputChannels < block || inputChannels % block === 0);
}

/** Gives the blocked result of a convolution as output 0. */
function setBlocked(context: LoweringContext, value: string, channels: number): void {
  if (canBlock(context.outputType(0), context.block)) context.set(0, value, "blocked");
  else context.set(0, toPlain(context.emit, value, channels));
}

function paddedBias({ emit, block, input, has }: LoweringContext, channels: number): string | undefined {
  if (!has(2)) return undefined;
  const missing = (block - (channels % block)) % block;
  return missing === 0 ? input(2) : emit.node("Pad", [input(2), emit.ints([0, missing])]);
}

/** Every channel has a filter of its own. */
const isDepthwise = ({ node }: LoweringContext, w: readonly number[]): boolean =>
  w[1] === 1 && w[0] > 1 && numberAttribute(node, "group", 1) === w[0];

const Conv: LoweringRule = (context) => {
  const { node, emit, block, input, type } = context;
  const w = staticShapeOf(type(1));
  const isByChannel = isDepthwise(context, w) && canBlock(type(0), block);
  if (!isByChannel && !fitsBlocks(context, w[1], w[0])) return passThrough(context);
  const x = input(0, isByChannel || w[1] >= block ? "blocked" : "plain");
  const filter = context.shared(`blocked:${node.inputs[1]}`, () => blockFilter(emit, input(1), w, block));
  const window = convolutionWindow(node, type(0).shape, w);
  const group = isByChannel ? w[0] : 1;
  setBlocked(context, blockedConv(emit, [x, filter, paddedBias(context, w[0])], window, { group }), w[0]);
};

interface InputGradient {
  readonly window: Window;
  readonly w: readonly number[];
  /** Spatial sizes of dy and dx. */
  readonly from: readonly number[];
  readonly to: readonly number[];
}

function inputGradientOf({ node, type, outputType }: LoweringContext): InputGradient {
  const w = staticShapeOf(type(1));
  return {
    window: givenWindow(node, w.slice(2)),
    w,
    from: staticShapeOf(type(0)).slice(2),
    to: staticShapeOf(outputType(0)).slice(2),
  };
}

/** The pads with which a stride-1 convolution of dy by the turned filter gives dx. */
function turnedPads({ window, from, to }: InputGradient): readonly number[] {
  const begins = to.map((_, axis) => spanOf(window, axis) - 1 - window.pads[axis]);
  const ends = to.map((size, axis) => size - from[axis] + window.pads[axis]);
  return [...begins, ...ends];
}

/** [M, C/group, k...] → [C, M/group, k... in reverse] */
function turnFilter({ node, emit, input }: LoweringContext, w: readonly number[]): string {
  const group = numberAttribute(node, "group", 1);
  const [rows, channels, ...kernel] = w;
  const axes = kernel.map((_, axis) => axis + 2);
  const backwards = emit.node("Slice", [
    input(1),
    emit.ints(axes.map(() => -1)),
    emit.ints(axes.map(() => -(2 ** 31))),
    emit.ints(axes),
    emit.ints(axes.map(() => -1)),
  ]);
  if (group === 1) return emit.transpose(backwards, [1, 0, ...axes]);
  const split = emit.reshape(backwards, [group, rows / group, channels, ...kernel]);
  const turned = emit.transpose(split, [0, 2, 1, ...axes.map((axis) => axis + 1)]);
  return emit.reshape(turned, [group * channels, rows / group, ...kernel]);
}

const isOne = (value: number): boolean => value === 1;

const ConvGradientInput: LoweringRule = (context) => {
  const gradient = inputGradientOf(context);
  const { window, w } = gradient;
  const pads = turnedPads(gradient);
  const isTurned = window.strides.every(isOne) && pads.every((pad) => pad >= 0);
  const takesBlocks = context.block > 0 && isPlane(context, 0) && isUngrouped(context) && w[0] % context.block === 0;
  const isByChannel = isDepthwise(context, w) && canBlock(context.type(0), context.block);
  if (isTurned && (takesBlocks || isByChannel)) return turnedInBlocks(context, gradient, pads);
  if (isTurned) return turnedPlainly(context, gradient, pads);
  if (takesBlocks && canSplitPhases(gradient)) return byPhases(context, gradient);
  return transposedConvolution(context, gradient);
};

function turnedPlainly(context: LoweringContext, { window, w }: InputGradient, pads: readonly number[]): void {
  const { node, emit, input, set } = context;
  const { kernel, dilations } = window;
  const group = numberAttribute(node, "group", 1);
  set(0, emit.node("Conv", [input(0), turnFilter(context, w)], { kernel_shape: kernel, dilations, pads, group }));
}

function turnedInBlocks(context: LoweringContext, { window, w }: InputGradient, pads: readonly number[]): void {
  const { node, emit, input, block } = context;
  const group = numberAttribute(node, "group", 1);
  const [rows, channels, ...kernel] = w;
  const shape = [group * channels, rows / group, ...kernel];
  const filter = blockFilter(emit, turnFilter(context, w), shape, block);
  const turned = { kernel, strides: [1, 1], dilations: window.dilations, pads };
  setBlocked(context, blockedConv(emit, [input(0, "blocked"), filter], turned, { group }), group * channels);
}

/** How dx splits by place modulo the stride: each phase is a stride-1 convolution of dy by `taps` taps. */
function phasesOf({ window, w, from, to }: InputGradient) {
  const { strides, pads } = window;
  const taps = strides.map((stride, axis) => Math.ceil(w[axis + 2] / stride));
  const sizes = to.map((size, axis) => Math.floor((size - 1 + pads[axis]) / strides[axis]) + 1);
  const ends = sizes.map((size, axis) => size - from[axis]);
  return { taps, sizes, pads: [...taps.map((count) => count - 1), ...ends] };
}

const canSplitPhases = (gradient: InputGradient): boolean =>
  gradient.window.dilations.every(isOne) && phasesOf(gradient).pads.every((pad) => pad >= 0);

/** dx[s·u + r − p] = Σ_j dy[u − j] · w[s·j + r]: all phases r as output channels of one convolution, then interleaved. */
function byPhases(context: LoweringContext, gradient: InputGradient): void {
  const { emit, input, block } = context;
  const { w } = gradient;
  const { strides } = gradient.window;
  const { taps, pads } = phasesOf(gradient);
  const channels = strides[0] * strides[1] * w[1];
  const filter = blockFilter(emit, phaseFilter(context, gradient, taps), [channels, w[0], ...taps], block);
  const window = { kernel: taps, strides: [1, 1], dilations: [1, 1], pads };
  const phases = blockedConv(emit, [input(0, "blocked"), filter], window);
  if (w[1] % block === 0) context.set(0, interleaved(context, gradient, phases, w[1] / block, [block]), "blocked");
  else context.set(0, interleaved(context, gradient, toPlain(emit, phases, channels), w[1], []));
}

/** [N, phases, channels, sizes, inner] → [N, channels, to, inner], in the shape of dx. */
function interleaved(
  { emit, type, outputType }: LoweringContext,
  gradient: InputGradient,
  phases: string,
  channels: number,
  inner: readonly number[],
): string {
  const { to } = gradient;
  const { strides, pads } = gradient.window;
  const { sizes } = phasesOf(gradient);
  const batch = staticShapeOf(type(0))[0];
  const split = emit.reshape(phases, [batch, ...strides, channels, ...sizes, ...inner]);
  const turned = emit.transpose(split, [0, 3, 4, 1, 5, 2, ...inner.map(() => 6)]);
  const whole = emit.reshape(turned, [batch, channels, sizes[0] * strides[0], sizes[1] * strides[1], ...inner]);
  const ends = to.map((size, axis) => size + pads[axis]);
  const cut = emit.node("Slice", [whole, emit.ints(pads.slice(0, 2)), emit.ints(ends), emit.ints([2, 3])]);
  return inner.length === 0 ? cut : emit.reshape(cut, staticShapeOf(outputType(0)));
}

/** [M, C, kh, kw] → [phases · C, M, taps...], taps in reverse. */
function phaseFilter(
  { emit, input }: LoweringContext,
  { w, window: { strides } }: InputGradient,
  taps: readonly number[],
): string {
  const [rows, channels, ...kernel] = w;
  const missing = taps.map((count, axis) => count * strides[axis] - kernel[axis]);
  const full = missing.some((count) => count > 0)
    ? emit.node("Pad", [input(1), emit.ints([0, 0, 0, 0, 0, 0, ...missing])])
    : input(1);
  const split = emit.reshape(full, [rows, channels, taps[0], strides[0], taps[1], strides[1]]);
  const backwards = [emit.ints([-1, -1]), emit.ints([-(2 ** 31), -(2 ** 31)]), emit.ints([2, 4]), emit.ints([-1, -1])];
  const turned = emit.node("Slice", [split, ...backwards]);
  return emit.reshape(emit.transpose(turned, [3, 5, 1, 0, 2, 4]), [strides[0] * strides[1] * channels, rows, ...taps]);
}

/** The general form: ConvTranspose, whose result may reach less far than dx, the rest of which is zero. */
function transposedConvolution({ node, emit, input, set }: LoweringContext, { window, from, to }: InputGradient): void {
  const { strides, dilations, kernel, pads } = window;
  const group = numberAttribute(node, "group", 1);
  const full = emit.node("ConvTranspose", [input(0), input(1)], { kernel_shape: kernel, strides, dilations, group });
  const reach = from.map((size, axis) => strides[axis] * (size - 1) + spanOf(window, axis));
  const begins = to.map((_, axis) => -pads[axis]);
  const ends = to.map((size, axis) => size + pads[axis] - reach[axis]);
  const isWhole = [...begins, ...ends].every((pad) => pad === 0);
  set(0, isWhole ? full : emit.node("Pad", [full, emit.ints([0, 0, ...begins, 0, 0, ...ends])]));
}

const ConvGradientWeight: LoweringRule = (context) => {
  const { block, type } = context;
  if (!isStatic(type(1).shape)) {
    weightGradientOfOpenChannels(context);
    return;
  }
  const isBlocked =
    block > 0 &&
    isPlane(context, 0) &&
    isPlane(context, 1) &&
    isUngrouped(context) &&
    staticShapeOf(type(0))[0] % block === 0;
  const rows = staticShapeOf(type(0))[1];
  if (context.has(2) && canMoveRows(context)) weightGradientOfRows(context);
  else if (isBlocked && rows >= block && !context.has(2)) weightGradientInBlocks(context);
  else weightGradientByProduct(context);
};

export const convolutionLowerings = { Conv, ConvGradientInput, ConvGradientWeight } satisfies Record<
  string,
  LoweringRule
>;
