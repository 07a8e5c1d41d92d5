// Attribute → AttributeProto.
import { create } from "@bufbuild/protobuf";
import { type AttributeProto, AttributeProtoSchema, AttributeProto_AttributeType as Type } from "onnx-buf";
import type { DType } from "../ir/dtype.ts";
import type { Attribute } from "../ir/graph.ts";
import { dtypeCode } from "./data-types.ts";
import { dtypeAttributes } from "./decode-attribute.ts";
import { encodeTensor } from "./encode-tensor.ts";

/** Attributes that ONNX (and com.microsoft) declares as float or floats; all other numbers are integers. */
const floatAttributes: ReadonlySet<string> = new Set([
  ...["activation_alpha", "activation_beta", "alpha", "beta", "bias", "clip", "cubic_coeff_a", "epsilon"],
  ...["extrapolation_value", "gamma", "high", "lambd", "low", "mask_filter_value", "max", "mean", "min", "momentum"],
  ...["norm_coefficient", "norm_coefficient_post", "ratio", "sample_rate", "scale", "scales", "seed", "softcap"],
  ...["spatial_scale", "threshold", "value", "value_float", "value_floats"],
]);

export function encodeAttribute(name: string, value: Attribute): AttributeProto {
  if (typeof value === "string") return encodeText(name, value);
  if (typeof value === "number") return encodeNumber(name, value);
  if ("dtype" in value) return create(AttributeProtoSchema, { name, type: Type.TENSOR, t: encodeTensor("", value) });
  if (isStrings(value))
    return create(AttributeProtoSchema, { name, type: Type.STRINGS, strings: value.map(encodeBytes) });
  const numbers = value as readonly number[];
  if (isFloat(name, numbers)) return create(AttributeProtoSchema, { name, type: Type.FLOATS, floats: [...numbers] });
  return create(AttributeProtoSchema, { name, type: Type.INTS, ints: numbers.map(BigInt) });
}

/** Fractions are so under any name: of attributes that ONNX does not know, as a file had them. */
const isFloat = (name: string, values: readonly number[]): boolean =>
  floatAttributes.has(name) || !values.every(Number.isInteger);

const isStrings = (value: readonly number[] | readonly string[]): value is readonly string[] =>
  value.length > 0 && typeof value[0] === "string";

const encodeBytes = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(new TextEncoder().encode(text));

function encodeText(name: string, value: string): AttributeProto {
  if (dtypeAttributes.has(name))
    return create(AttributeProtoSchema, { name, type: Type.INT, i: BigInt(dtypeCode(value as DType)) });
  return create(AttributeProtoSchema, { name, type: Type.STRING, s: encodeBytes(value) });
}

function encodeNumber(name: string, value: number): AttributeProto {
  if (isFloat(name, [value])) return create(AttributeProtoSchema, { name, type: Type.FLOAT, f: value });
  return create(AttributeProtoSchema, { name, type: Type.INT, i: BigInt(value) });
}
