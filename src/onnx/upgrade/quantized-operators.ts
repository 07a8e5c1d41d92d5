// Operators on integers, read as what they compute: dequantize, the float operator, quantize.

import { tensorOf } from "../../ir/tensor.ts";
import { printShape } from "../../ops/attributes.ts";
import { type Replacement, replacement } from "./replacement.ts";
import { always, cannotUpgrade, type Upgrade, type UpgradeContext } from "./upgrade.ts";

const isScalar = ({ type }: UpgradeContext, scale: string): boolean => type(scale).shape.every((size) => size === 1);

/** A scale or zero point of one element as a scalar, as the operators that follow take it. */
const asScalar = ({ type }: UpgradeContext, { reshape }: Replacement, value: string): string =>
  type(value).shape.length === 0 ? value : reshape(value, []);

function dequantize(
  context: UpgradeContext,
  made: Replacement,
  [x, scale, zeroPoint]: readonly string[],
  axis: number,
): string {
  if (isScalar(context, scale))
    return made.call("DequantizeLinear", [x, asScalar(context, made, scale), asScalar(context, made, zeroPoint)]);
  return made.call("DequantizeLinear", [x, scale, zeroPoint], { axis });
}

function quantize(context: UpgradeContext, made: Replacement, x: string, scale: string, zeroPoint: string): string {
  if (!isScalar(context, scale))
    throw cannotUpgrade(context.node, context.opset, "its output has several scales, which is not handled.");
  return made.call("QuantizeLinear", [x, asScalar(context, made, scale), asScalar(context, made, zeroPoint)]);
}

/** The bias is int32 at the scale of the input times the weight's. */
export const qLinearConv: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node } = context;
    const made = replacement(context);
    const [x, xScale, xZeroPoint, w, wScale, wZeroPoint, yScale, yZeroPoint, bias] = node.inputs;
    const inputs = [
      dequantize(context, made, [x, xScale, xZeroPoint], 1),
      dequantize(context, made, [w, wScale, wZeroPoint], 0),
    ];
    if (bias) {
      const scale = made.call("Mul", [asScalar(context, made, xScale), wScale]);
      const flat = isScalar(context, wScale) ? made.reshape(scale, []) : scale;
      inputs.push(made.call("DequantizeLinear", [bias, flat], { axis: 0 }));
    }
    const product = made.call("Conv", inputs, node.attributes);
    return made.finish(quantize(context, made, product, yScale, yZeroPoint));
  },
};

export const qLinearMatMul: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node, type, opset } = context;
    const made = replacement(context);
    const [a, aScale, aZeroPoint, b, bScale, bZeroPoint, yScale, yZeroPoint] = node.inputs;
    if (!isScalar(context, aScale)) throw cannotUpgrade(node, opset, "a has several scales, which is not handled.");
    const product = made.call("MatMul", [
      dequantize(context, made, [a, aScale, aZeroPoint], 0),
      dequantize(context, made, [b, bScale, bZeroPoint], type(b).shape.length - 1),
    ]);
    return made.finish(quantize(context, made, product, yScale, yZeroPoint));
  },
};

/** Integers less their zero points, as floats: behind DequantizeLinear, so that constant ones are recognized as weights. */
function centred(context: UpgradeContext, made: Replacement, x: string, zeroPoint: string | undefined, axis: number) {
  const { node, opset, type, constant } = context;
  const shape = zeroPoint ? type(zeroPoint).shape : [];
  const [count] = shape;
  if (!zeroPoint || isScalar(context, zeroPoint)) {
    const scale = constant("scale", tensorOf("float32", [], [1]));
    return made.call("DequantizeLinear", [x, scale, ...(zeroPoint ? [asScalar(context, made, zeroPoint)] : [])]);
  }
  if (shape.length !== 1 || typeof count !== "number")
    throw cannotUpgrade(
      node,
      opset,
      `its zero point "${zeroPoint}" is ${printShape(shape)}; expected one axis, known.`,
    );
  const scale = constant("scale", tensorOf("float32", [count], new Array<number>(count).fill(1)));
  return made.call("DequantizeLinear", [x, scale, zeroPoint], { axis });
}

/** A product of integers has int32 elements; sums from 2^24 on are rounded as float32 is. */
const asIntegers = ({ call, finish }: Replacement, product: string) =>
  finish(call("Cast", [call("Round", [product])], { to: "int32" }));

export const convInteger: Upgrade = {
  before: always,
  upgrade: (context) => {
    const made = replacement(context);
    const [x, w, xZeroPoint, wZeroPoint] = context.node.inputs;
    const inputs = [centred(context, made, x, xZeroPoint, 1), centred(context, made, w, wZeroPoint, 0)];
    return asIntegers(made, made.call("Conv", inputs, context.node.attributes));
  },
};

export const matMulInteger: Upgrade = {
  before: always,
  upgrade: (context) => {
    const made = replacement(context);
    const [a, b, aZeroPoint, bZeroPoint] = context.node.inputs;
    const rank = (value: string): number => context.type(value).shape.length;
    const inputs = [
      centred(context, made, a, aZeroPoint, rank(a) - 2),
      centred(context, made, b, bZeroPoint, rank(b) - 1),
    ];
    return asIntegers(made, made.call("MatMul", inputs));
  },
};

/** scale = (max(x, 0) − min(x, 0)) / 255, or 1 where that is 0; zero point = round(−min(x, 0) / scale) */
export const dynamicQuantizeLinear: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { call, of, finish } = replacement(context);
    const [x] = context.node.inputs;
    const [zero, most] = [of(0, x), of(255, x)];
    const low = call("Min", [call("ReduceMin", [x], { keepdims: 0 }), zero]);
    const high = call("Max", [call("ReduceMax", [x], { keepdims: 0 }), zero]);
    const step = call("Div", [call("Sub", [high, low]), most]);
    const scale = call("Where", [call("Equal", [high, low]), of(1, x), step]);
    const place = call("Clip", [call("Div", [call("Neg", [low]), scale]), zero, most]);
    const zeroPoint = call("Cast", [call("Round", [place])], { to: "uint8" });
    return finish(call("QuantizeLinear", [x, scale, zeroPoint]), scale, zeroPoint);
  },
};
