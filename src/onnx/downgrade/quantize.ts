// QuantizeLinear and DequantizeLinear before 23 have no output type, before 21 no small types, before 13 no axis.
import type { DType } from "../../ir/dtype.ts";
import { type Downgrade, NeedsOpset, withAttributes } from "./downgrade.ts";
import { introducedTypes } from "./introduced.ts";

/** Since which opset each type is quantized to. */
const since: Partial<Readonly<Record<DType, number>>> = { ...introducedTypes, int16: 21, uint16: 21 };

export const typesByOpset: Downgrade = {
  before: 23,
  downgrade: ({ node, opset, type }) => {
    const [x, scale, zeroPoint] = node.inputs;
    const quantized = node.op === "DequantizeLinear" ? type(x).dtype : zeroPoint ? type(zeroPoint).dtype : "uint8";
    const wanted = node.attributes["output_dtype"];
    const usual = node.op === "DequantizeLinear" ? type(scale).dtype : quantized;
    if (wanted !== undefined && wanted !== usual)
      throw new NeedsOpset(node.op === "DequantizeLinear" ? 23 : 21, `its output_dtype "${wanted}" is newer`);
    const first = since[quantized] ?? 10;
    if (opset < first) throw new NeedsOpset(first, `the type ${quantized} is newer`);
    if (opset < 19 && type(scale).dtype !== "float32")
      throw new NeedsOpset(19, `a scale of type ${type(scale).dtype} is newer`);
    return [withAttributes(node, { output_dtype: undefined, precision: undefined })];
  },
};

export const perTensor: Downgrade = {
  before: 13,
  downgrade: ({ node, type }) => {
    if (type(node.inputs[1]).shape.length > 0) throw new NeedsOpset(13, "scales per channel are newer");
    return [withAttributes(node, { axis: undefined })];
  },
};
