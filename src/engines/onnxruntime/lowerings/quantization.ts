// Fake quantization and its gradient.

import type { DType } from "../../../ir/dtype.ts";
import type { Dim } from "../../../ir/graph.ts";
import { sizeOf, tensorOf, toNumbers } from "../../../ir/tensor.ts";
import { isStatic } from "../../../ops/dims.ts";
import {
  type Granularity,
  type GroupGranularity,
  granularityOf,
  isGrouped,
  rowAxisOfGradient,
} from "../../../ops/granularity.ts";
import {
  type BlockLayout,
  canBlock,
  elementsOf,
  type LoweringContext,
  type LoweringRule,
  matMulTransposed,
} from "../lowering.ts";

/** Inputs of FakeQuantize, by their places in the node: FakeQuantizeGradient has dy before them. */
interface Quantizer {
  readonly context: LoweringContext;
  readonly first: 0 | 1;
  readonly layout: BlockLayout;
  readonly granularity: Granularity;
  readonly dtype: DType;
  /** Bounds, where they are constants. */
  readonly low: number | undefined;
  readonly high: number | undefined;
}

const bound = (context: LoweringContext, input: number): number | undefined => {
  const value = context.constant(input);
  return value && toNumbers(value)[0];
};

function quantizerOf(context: LoweringContext, first: 0 | 1): Quantizer {
  const { node, block, type, hasLayout } = context;
  const granularity = granularityOf(node, type(first).shape.length);
  const readsBlocked = granularity === "tensor" && canBlock(type(first), block) && hasLayout(first, "blocked");
  return {
    context,
    first,
    layout: readsBlocked ? "blocked" : "plain",
    granularity,
    dtype: type(first).dtype,
    low: bound(context, first + 3),
    high: bound(context, first + 4),
  };
}

/** An integer type that holds all of the quantizer's integers, with room to spare (`isWider`) or just so. */
interface CodeType {
  readonly dtype: "uint8" | "int8";
  readonly min: number;
  readonly max: number;
  /** Whether a code at a bound is inside: codes beyond both bounds exist. */
  readonly isWider: boolean;
}

function codeTypeOf({ low, high }: Quantizer): CodeType | undefined {
  if (low === undefined || high === undefined) return undefined;
  const isWider = (min: number, max: number): boolean => low > min && high < max;
  if (low > -128 && high < 127) return { dtype: "int8", min: -128, max: 127, isWider: true };
  if (low >= 0 && high <= 255) return { dtype: "uint8", min: 0, max: 255, isWider: isWider(0, 255) };
  if (low >= -128 && high <= 127) return { dtype: "int8", min: -128, max: 127, isWider: false };
  return undefined;
}

/** Below this many elements plain arithmetic is as fast. */
const smallestForCodes = 4096;

function usesCodes(quantizer: Quantizer): CodeType | undefined {
  const { context, first, granularity, dtype } = quantizer;
  const type = context.type(first);
  const isSmall = isStatic(type.shape) && elementsOf(type) < smallestForCodes;
  if (granularity !== "tensor" || dtype !== "float32" || isSmall) return undefined;
  return codeTypeOf(quantizer);
}

interface Codes {
  readonly type: CodeType;
  /** Saturated to the type, not yet to the bounds. */
  readonly wide: string;
  readonly codes: string;
  readonly zeroPoint: string;
}

/** QuantizeLinear and a Clip. */
function codesOf(quantizer: Quantizer, type: CodeType): Codes {
  const { context, first, layout, low, high } = quantizer;
  const { emit, input, has, shared, node } = context;
  const key = `codes:${layout}:${JSON.stringify(node.inputs.slice(first, first + 5))}`;
  return shared(key, () => {
    const zeroPoint = has(first + 2)
      ? emit.node("Cast", [roundedZeroPoint(quantizer, input(first + 2))], { to: type.dtype })
      : emit.scalar(0, type.dtype);
    const wide = emit.node("QuantizeLinear", [input(first, layout), input(first + 1), zeroPoint]);
    const isNarrow = low === type.min && high === type.max;
    const bounds = [emit.scalar(low ?? 0, type.dtype), emit.scalar(high ?? 0, type.dtype)];
    const codes = isNarrow ? wide : emit.node("Clip", [wide, ...bounds]);
    return { type, wide, codes, zeroPoint };
  });
}

/** One of the quantizer's integers. */
function roundedZeroPoint({ context, first, dtype }: Quantizer, zeroPoint: string): string {
  const [low, high] = [3, 4].map((bound) => scalarLike(context, first + bound, dtype));
  return context.emit.node("Clip", [context.emit.node("Round", [zeroPoint]), low, high]);
}

const FakeQuantize: LoweringRule = (context) => {
  const quantizer = quantizerOf(context, 0);
  const type = usesCodes(quantizer);
  context.set(0, type ? dequantized(quantizer, type) : arithmetic(quantizer), quantizer.layout);
};

function dequantized(quantizer: Quantizer, type: CodeType): string {
  const { context } = quantizer;
  const { codes, zeroPoint } = codesOf(quantizer, type);
  return context.emit.node("DequantizeLinear", [codes, context.input(quantizer.first + 1), zeroPoint]);
}

interface Parameters {
  readonly x: string;
  /** Shaped to broadcast against x. */
  readonly scale: string;
  readonly low: string;
  readonly high: string;
}

/** The scale, and the bounds less the rounded zero point; with rows, those of the rows. */
function parametersOf(quantizer: Quantizer): Parameters {
  const { context, first, layout, dtype } = quantizer;
  const { emit, input, has } = context;
  const scale = broadcast(quantizer, first + 1);
  const low = scalarLike(context, first + 3, dtype);
  const high = scalarLike(context, first + 4, dtype);
  if (!has(first + 2)) return { x: input(first, layout), scale, low, high };
  const zeroPoint = roundedZeroPoint(quantizer, broadcast(quantizer, first + 2));
  return {
    x: input(first, layout),
    scale,
    low: emit.node("Sub", [low, zeroPoint]),
    high: emit.node("Sub", [high, zeroPoint]),
  };
}

const scalarLike = ({ emit, input, type }: LoweringContext, place: number, dtype: DType): string =>
  type(place).dtype === dtype ? input(place) : emit.node("Cast", [input(place)], { to: dtype });

/** A scale or zero point as it broadcasts against x: those of groups repeated for each index. */
function broadcast({ context, granularity, first }: Quantizer, place: number): string {
  const { emit, input, type } = context;
  if (granularity === "tensor") return input(place);
  const { axis } = granularity;
  const { shape } = type(first);
  if (!isGrouped(granularity)) return emit.reshape(input(place), channelShape(shape.length, axis));
  const groups = Array.from({ length: Number(shape[axis]) }, (_, i) => Math.floor(i / granularity.groupSize));
  return emit.node("Gather", [input(place), emit.ints(groups)], { axis });
}

const channelShape = (rank: number, axis: number): number[] =>
  Array.from({ length: rank }, (_, i) => (i === axis ? -1 : 1));

/** clip(round(x/scale), low − z, high − z) · scale */
function arithmetic(quantizer: Quantizer): string {
  const { emit } = quantizer.context;
  const { x, scale, low, high } = parametersOf(quantizer);
  const rounded = emit.node("Round", [emit.node("Div", [x, scale])]);
  return emit.node("Mul", [clip(emit, rounded, low, high), scale]);
}

/** Clip for bounds that broadcast. */
const clip = (emit: LoweringContext["emit"], x: string, low: string, high: string): string =>
  emit.node("Min", [emit.node("Max", [x, low]), high]);

const FakeQuantizeGradient: LoweringRule = (context) => {
  const quantizer = quantizerOf(context, 1);
  const isWhole = quantizer.granularity === "tensor" && !context.has(6);
  if (isWhole && quantizer.dtype === "float32" && elementsOf(context.type(1)) >= smallestForCodes)
    wholeGradient(quantizer);
  else channelGradient(quantizer);
};

/** dx = dy · mask; dscale = (Σ dy·y − Σ dx·x)/scale; dzeroPoint = −scale·(Σ dy − Σ dx) */
function wholeGradient(quantizer: Quantizer): void {
  const { context } = quantizer;
  const { emit, input, set, wants, hasLayout } = context;
  const layout: BlockLayout =
    quantizer.layout === "blocked" || (canBlock(context.type(1), context.block) && hasLayout(0, "blocked"))
      ? "blocked"
      : "plain";
  const here = { ...quantizer, layout };
  const dy = input(0, layout);
  const dx = emit.node("Mul", [dy, insideMask(here)]);
  set(0, dx, layout);
  const scale = input(2);
  if (wants(1)) {
    const elements = elementsOf(context.type(1));
    const outer = dot(emit, dy, quantized(here), elements);
    const inner = dot(emit, dx, input(1, layout), elements);
    set(1, emit.node("Div", [emit.node("Sub", [outer, inner]), scale]));
  }
  if (wants(2)) {
    const difference = emit.node("Sub", [sumOf(emit, dx), sumOf(emit, dy)]);
    set(2, emit.node("Mul", [scale, difference]));
  }
}

const sumOf = (emit: LoweringContext["emit"], value: string): string =>
  emit.node("ReduceSum", [value], { keepdims: 0 });

const dotLength = 4096;

/** Σ a·b as many short products, so that they run in parallel and the sums stay exact enough. */
function dot(emit: LoweringContext["emit"], a: string, b: string, elements: number): string {
  let length = dotLength;
  while (elements % length !== 0) length /= 2;
  if (length < 64) return sumOf(emit, emit.node("Mul", [a, b]));
  const shape = [elements / length, 1, length];
  return sumOf(
    emit,
    matMulTransposed(emit, emit.reshape(a, shape), emit.reshape(b, shape), { dtype: "float32", rank: 3 }),
  );
}

/** y of the forward node, where there is one, else computed again. */
function quantized(quantizer: Quantizer): string {
  const { context, layout } = quantizer;
  const found = context.find("FakeQuantize", context.node.inputs.slice(1, 6), layout);
  if (found !== undefined) return found;
  const type = usesCodes(quantizer);
  return type ? dequantized(quantizer, type) : arithmetic(quantizer);
}

/** 1 where x rounds to within the bounds, else 0. */
function insideMask(quantizer: Quantizer): string {
  const { context, layout } = quantizer;
  const { emit } = context;
  const type = usesCodes(quantizer);
  if (type?.isWider) {
    const { wide, codes } = codesOf(quantizer, type);
    return emit.node("Cast", [emit.node("Equal", [wide, codes])], { to: "float32" });
  }
  const { scale, low, high } = parametersOf({ ...quantizer, layout });
  const half = emit.scalar(0.5);
  const minInside = emit.node("Mul", [emit.node("Sub", [low, half]), scale]);
  const maxInside = emit.node("Mul", [emit.node("Add", [high, half]), scale]);
  const x = context.input(1, layout);
  const isInside = emit.node("Equal", [emit.node("Clip", [x, minInside, maxInside]), x]);
  return emit.node("Cast", [isInside], { to: "float32" });
}

/** The definition itself, for weights: small, per channel or group, perhaps of some rows. */
function channelGradient(quantizer: Quantizer): void {
  const { context, dtype } = quantizer;
  const { emit, input, set, wants } = context;
  const { x, scale, low, high } = chosenRows(quantizer, parametersOf(quantizer));
  const dy = input(0);
  const ratio = emit.node("Div", [x, scale]);
  const rounded = emit.node("Round", [ratio]);
  const clipped = clip(emit, rounded, low, high);
  const isInside = emit.node("Cast", [emit.node("Equal", [rounded, clipped])], { to: dtype });
  const dx = emit.node("Mul", [dy, isInside]);
  set(0, dx);
  const sum = (value: string): string => sumPerScale(quantizer, value);
  if (wants(1)) {
    // Inside q − z − x/scale, outside q − z.
    const factor = emit.node("Sub", [clipped, emit.node("Mul", [ratio, isInside])]);
    set(1, sum(emit.node("Mul", [dy, factor])));
  }
  if (wants(2)) {
    const outside = emit.node("Mul", [emit.node("Sub", [dx, dy]), scale]);
    set(2, sum(outside));
  }
}

/** Sums over what shares a scale, in the scale's shape. */
function sumPerScale({ context, granularity }: Pick<Quantizer, "context" | "granularity">, value: string): string {
  const { emit, type } = context;
  if (granularity === "tensor") return sumOf(emit, value);
  if (isGrouped(granularity)) return sumPerGroup(context, granularity, value);
  const axes = type(1).shape.flatMap((_, i) => (i === granularity.axis ? [] : [i]));
  return axes.length === 0 ? value : emit.node("ReduceSum", [value, emit.ints(axes)], { keepdims: 0 });
}

/** The groups' axis is filled up with zeros and split in two; all rows count as one size, which may be open. */
function sumPerGroup({ node, emit, has, type }: LoweringContext, granularity: GroupGranularity, value: string): string {
  const { axis, groupSize } = granularity;
  const [x, scale] = [type(1).shape, type(2).shape];
  const rows = has(6) ? rowAxisOfGradient(node, granularity) : undefined;
  const sizes = (shape: readonly Dim[]): number[] =>
    shape.map((size, i) => (i === rows || typeof size === "string" ? -1 : size));
  const groups = Number(scale[axis]);
  const missing = groups * groupSize - Number(x[axis]);
  const pads = [...x.map(() => 0), ...x.map((_, i) => (i === axis ? missing : 0))];
  const filled = missing === 0 ? value : emit.node("Pad", [value, emit.ints(pads)]);
  const split = emit.reshape(filled, sizes(x).toSpliced(axis, 1, groups, groupSize));
  const shared = scale.flatMap((size, i) => (i !== axis && i !== rows && size === 1 ? [i < axis ? i : i + 1] : []));
  const sums = emit.node("ReduceSum", [split, emit.ints([axis + 1, ...shared])], { keepdims: 0 });
  return emit.reshape(sums, sizes(scale));
}

function chosenRows(quantizer: Quantizer, parameters: Parameters): Parameters {
  const { context, granularity } = quantizer;
  if (!context.has(6) || granularity === "tensor") return parameters;
  const { emit, input, has, node } = context;
  const axis = rowAxisOfGradient(node, granularity);
  const choose = (value: string): string => emit.node("Gather", [value, input(6)], { axis });
  const { x, scale, low, high } = parameters;
  return { x: choose(x), scale: choose(scale), low: has(3) ? choose(low) : low, high: has(3) ? choose(high) : high };
}

/** Integers are read with scales of 1. */
const DequantizeLinearGradient: LoweringRule = (context) => {
  const { node, emit, input, has, type, set } = context;
  const { dtype, shape } = type(2);
  const sizes = shape.map(Number);
  const ones = emit.constant(tensorOf(dtype, sizes, new Float64Array(sizeOf(sizes)).fill(1)));
  const integers = emit.node("DequantizeLinear", [input(1), ones, has(3) ? input(3) : undefined], node.attributes);
  const product = emit.node("Mul", [input(0), integers]);
  const isOne = sizeOf(sizes) === 1 && sizes.length < 2;
  const attributes = { axis: 1, ...node.attributes };
  const granularity = isOne ? "tensor" : granularityOf({ ...node, attributes }, type(1).shape.length);
  const sum = sumPerScale({ context, granularity }, product);
  set(0, isOne ? emit.reshape(sum, sizes) : sum);
};

export const quantizationLowerings = { DequantizeLinearGradient, FakeQuantize, FakeQuantizeGradient } satisfies Record<
  string,
  LoweringRule
>;
