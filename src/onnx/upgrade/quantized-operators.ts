// Operators on integers, read as what they compute: dequantize, the float operator, quantize.

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
