// Kernels of the elementwise operators.
import { type DType, isFloat } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { describeNode, type Node } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { sizeOf, type Tensor, toNumbers } from "../ir/tensor.ts";
import { numberAttribute, stringAttribute } from "../ops/attributes.ts";
import { required, take } from "./index-maps.ts";
import type { Kernel } from "./kernel.ts";
import { asNumbers, fromNumbers, isBig } from "./numbers.ts";
import {
  align,
  applyBig,
  applyNumbers,
  type BigFunction,
  binary,
  type NumberFunction,
  plain,
  predicate,
  unary,
} from "./pointwise.ts";
import { erf, sigmoid, softplus } from "./special-functions.ts";

const reduceInputs =
  (f: NumberFunction, big: BigFunction): Kernel =>
  (inputs) => {
    const tensors = inputs.map((_, i) => required(inputs, i));
    const add = (a: Tensor, b: Tensor): Tensor => (isBig(a) ? applyBig(big, a, b) : applyNumbers(f, a, b, a.dtype));
    return [tensors.reduce(add)];
  };

const mean: Kernel = (inputs) => {
  const tensors = inputs.map((_, i) => required(inputs, i));
  const total = tensors.reduce((a, b) => applyNumbers((x, y) => x + y, a, b, "float64"));
  const { dtype } = tensors[0];
  return [
    fromNumbers(
      dtype,
      total.shape,
      (total.data as Float64Array).map((sum) => sum / tensors.length),
    ),
  ];
};

/** What divides an integer. */
function divisor<T extends number | bigint>(b: T): T {
  if (Number(b) === 0)
    throw new FrostbitError("BAD_DATA", "An integer was divided by zero (Div or Mod). Check the inputs.");
  return b;
}

const divide: Kernel = (inputs, node) => {
  const isInteger = !isFloat(required(inputs, 0).dtype);
  const f: NumberFunction = isInteger ? (a, b) => Math.trunc(a / divisor(b)) : (a, b) => a / b;
  return binary(f, (a, b) => a / divisor(b))(inputs, node);
};

const mod: Kernel = (inputs, node) => {
  const isInteger = !isFloat(required(inputs, 0).dtype);
  if (numberAttribute(node, "fmod", 0) === 1)
    return binary(
      (a, b) => a % (isInteger ? divisor(b) : b),
      (a, b) => a % divisor(b),
    )(inputs, node);
  return binary(
    (a, b) => ((a % divisor(b)) + b) % b,
    (a, b) => ((a % divisor(b)) + b) % b,
  )(inputs, node);
};

const power: Kernel = (inputs) => {
  const [a, b] = [required(inputs, 0), required(inputs, 1)];
  return [applyNumbers((x, y) => x ** y, a, b, a.dtype)];
};

/** A bound that is left out bounds nothing. */
const boundsOf = (low: Tensor | undefined, high: Tensor | undefined): readonly [number, number] => [
  low ? toNumbers(low)[0] : Number.NEGATIVE_INFINITY,
  high ? toNumbers(high)[0] : Number.POSITIVE_INFINITY,
];

const clip: Kernel = (inputs) => {
  const x = required(inputs, 0);
  const [low, high] = boundsOf(inputs[1], inputs[2]);
  const values = asNumbers(x);
  return [
    fromNumbers(
      x.dtype,
      x.shape,
      Float64Array.from(values, (value) => Math.min(Math.max(value, low), high)),
    ),
  ];
};

const clipGradient: Kernel = (inputs) => {
  const [dy, x] = [required(inputs, 0), required(inputs, 1)];
  const [low, high] = boundsOf(inputs[2], inputs[3]);
  return [applyNumbers((g, value) => (value < low || value > high ? 0 : g), dy, x, dy.dtype)];
};

function gelu(node: Node): (x: number) => number {
  if (stringAttribute(node, "approximate", "none") === "none") return (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2));
  const root = Math.sqrt(2 / Math.PI);
  return (x) => 0.5 * x * (1 + Math.tanh(root * (x + 0.044715 * x ** 3)));
}

const leakyRelu = (node: Node): ((x: number) => number) => {
  const alpha = numberAttribute(node, "alpha", 0.01);
  return (x) => (x < 0 ? alpha * x : x);
};

const elu = (node: Node): ((x: number) => number) => {
  const alpha = numberAttribute(node, "alpha", 1);
  return (x) => (x < 0 ? alpha * Math.expm1(x) : x);
};

const selu = (node: Node): ((x: number) => number) => {
  const alpha = numberAttribute(node, "alpha", 1.6732632423543772);
  const gamma = numberAttribute(node, "gamma", 1.0507009873554805);
  return (x) => gamma * (x > 0 ? x : alpha * Math.expm1(x));
};

const celu = (node: Node): ((x: number) => number) => {
  const alpha = numberAttribute(node, "alpha", 1);
  return (x) => (x < 0 ? alpha * Math.expm1(x / alpha) : x);
};

const hardSigmoid = (node: Node): ((x: number) => number) => {
  const alpha = numberAttribute(node, "alpha", 0.2);
  const beta = numberAttribute(node, "beta", 0.5);
  return (x) => Math.max(0, Math.min(1, alpha * x + beta));
};

const thresholdedRelu = (node: Node): ((x: number) => number) => {
  const alpha = numberAttribute(node, "alpha", 1);
  return (x) => (x > alpha ? x : 0);
};

const isInf = (node: Node): ((x: number) => number) => {
  const [positive, negative] = [
    numberAttribute(node, "detect_positive", 1),
    numberAttribute(node, "detect_negative", 1),
  ];
  return (x) =>
    Number((x === Number.POSITIVE_INFINITY && positive !== 0) || (x === Number.NEGATIVE_INFINITY && negative !== 0));
};

const shrink = (node: Node): ((x: number) => number) => {
  const bias = numberAttribute(node, "bias", 0);
  const lambd = numberAttribute(node, "lambd", 0.5);
  return (x) => (x < -lambd ? x + bias : x > lambd ? x - bias : 0);
};

const where: Kernel = (inputs) => {
  const [condition, a, b] = [required(inputs, 0), required(inputs, 1), required(inputs, 2)];
  const { shape, offsets } = align([condition, a, b]);
  const holds = condition.data as Uint8Array;
  const [conditionAt, aAt, bAt] = offsets;
  const all = Int32Array.from({ length: sizeOf(shape) }, (_, i) => i);
  const result = take(a, shape, aAt ?? all);
  const other = take(b, shape, bAt ?? all);
  for (let i = 0; i < all.length; i++) if (!holds[conditionAt ? conditionAt[i] : i]) result.data[i] = other.data[i];
  return [result];
};

const castTo: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const to = stringAttribute(node, "to", "") as DType;
  if (x.dtype === to) return [x];
  for (const dtype of [x.dtype, to])
    if (dtype === "float16" || dtype === "bfloat16")
      throw new FrostbitError(
        "UNSUPPORTED_OP",
        `${describeNode(node)}: the reference engine does not compute in ${dtype}.`,
      );
  const values = asNumbers(x);
  if (to === "bool")
    return [
      fromNumbers(
        to,
        x.shape,
        Uint8Array.from(values, (value) => Number(value !== 0)),
      ),
    ];
  return [fromNumbers(to, x.shape, values)];
};

const identity: Kernel = (inputs) => [required(inputs, 0)];

const dropout: Kernel = (inputs) => {
  const x = required(inputs, 0);
  return [x, { dtype: "bool", shape: x.shape, data: new Uint8Array(x.data.length).fill(1) }];
};

// Math.min and Math.max take no bigint.
const bigMin: BigFunction = (a, b) => (a < b ? a : b);
const bigMax: BigFunction = (a, b) => (a > b ? a : b);

export const elementwiseKernels = {
  Add: binary(
    (a, b) => a + b,
    (a, b) => a + b,
  ),
  Sub: binary(
    (a, b) => a - b,
    (a, b) => a - b,
  ),
  Mul: binary(
    (a, b) => a * b,
    (a, b) => a * b,
  ),
  Div: divide,
  Pow: power,
  Mod: mod,
  Neg: plain((x) => -x),
  Abs: plain(Math.abs),
  Sqrt: plain(Math.sqrt),
  Reciprocal: plain((x) => 1 / x),
  Exp: plain(Math.exp),
  Log: plain(Math.log),
  Erf: plain(erf),
  Tanh: plain(Math.tanh),
  Sigmoid: plain(sigmoid),
  Relu: plain((x) => Math.max(x, 0)),
  ReluGradient: binary((dy, y) => (y > 0 ? dy : 0)),
  LeakyRelu: unary(leakyRelu),
  Elu: unary(elu),
  Selu: unary(selu),
  Celu: unary(celu),
  PRelu: binary((x, slope) => (x < 0 ? slope * x : x)),
  HardSigmoid: unary(hardSigmoid),
  HardSwish: plain((x) => x * Math.max(0, Math.min(1, x / 6 + 0.5))),
  Clip: clip,
  ClipGradient: clipGradient,
  Softplus: plain(softplus),
  Softsign: plain((x) => x / (1 + Math.abs(x))),
  Mish: plain((x) => x * Math.tanh(softplus(x))),
  Gelu: unary(gelu),
  ThresholdedRelu: unary(thresholdedRelu),
  Shrink: unary(shrink),
  Sin: plain(Math.sin),
  Cos: plain(Math.cos),
  Min: reduceInputs(Math.min, bigMin),
  Max: reduceInputs(Math.max, bigMax),
  Sum: reduceInputs(
    (a, b) => a + b,
    (a, b) => a + b,
  ),
  Mean: mean,
  Sign: plain(Math.sign),
  Floor: plain(Math.floor),
  Ceil: plain(Math.ceil),
  Round: plain(roundHalfToEven),
  IsNaN: plain((x) => Number(Number.isNaN(x)), "bool"),
  IsInf: unary(isInf, "bool"),
  Not: plain((x) => Number(x === 0), "bool"),
  Equal: predicate((a, b) => a === b),
  Greater: predicate((a, b) => a > b),
  GreaterOrEqual: predicate((a, b) => a >= b),
  Less: predicate((a, b) => a < b),
  LessOrEqual: predicate((a, b) => a <= b),
  And: predicate((a, b) => a !== 0 && b !== 0),
  Or: predicate((a, b) => a !== 0 || b !== 0),
  Xor: predicate((a, b) => (a !== 0) !== (b !== 0)),
  Where: where,
  Cast: castTo,
  Identity: identity,
  Dropout: dropout,
} satisfies Record<string, Kernel>;
