// ONNX's numbers for element types, and our names for them.
import { TensorProto_DataType as Code } from "onnx-buf";
import type { DType } from "../ir/dtype.ts";

const codes: Readonly<Record<DType, Code>> = {
  float32: Code.FLOAT,
  float64: Code.DOUBLE,
  float16: Code.FLOAT16,
  bfloat16: Code.BFLOAT16,
  int8: Code.INT8,
  uint8: Code.UINT8,
  int16: Code.INT16,
  uint16: Code.UINT16,
  int32: Code.INT32,
  uint32: Code.UINT32,
  int64: Code.INT64,
  uint64: Code.UINT64,
  bool: Code.BOOL,
  int4: Code.INT4,
  uint4: Code.UINT4,
  int2: Code.INT2,
  uint2: Code.UINT2,
};

const dtypesByCode = new Map(Object.entries(codes).map(([dtype, code]) => [code as number, dtype as DType]));

export const dtypeCode = (dtype: DType): Code => codes[dtype];

/** `undefined` for a type that we do not hold, and for a number that is not a type. */
export const dtypeOfCode = (code: number): DType | undefined => dtypesByCode.get(code);

/** ONNX's own name of a type that exists but that we do not hold (`STRING`, `FLOAT8E4M3FN`); `undefined` if there is no such type. */
export const codeName = (code: number): string | undefined => (code === 0 ? undefined : Code[code]);
