// Element types, named as ONNX names them, and how each is held in memory.

/** Types narrower than 8 bits are held one element per byte; only files pack them. float16 and bfloat16 are held as their bits. */
export const dtypes = {
  float32: { bits: 32, array: Float32Array },
  float64: { bits: 64, array: Float64Array },
  float16: { bits: 16, array: Uint16Array },
  bfloat16: { bits: 16, array: Uint16Array },
  int8: { bits: 8, array: Int8Array },
  uint8: { bits: 8, array: Uint8Array },
  int16: { bits: 16, array: Int16Array },
  uint16: { bits: 16, array: Uint16Array },
  int32: { bits: 32, array: Int32Array },
  uint32: { bits: 32, array: Uint32Array },
  int64: { bits: 64, array: BigInt64Array },
  uint64: { bits: 64, array: BigUint64Array },
  bool: { bits: 8, array: Uint8Array },
  int4: { bits: 4, array: Int8Array },
  uint4: { bits: 4, array: Uint8Array },
  int2: { bits: 2, array: Int8Array },
  uint2: { bits: 2, array: Uint8Array },
} as const;

/**
 * An element type, as ONNX names it. float16 and bfloat16 are held as their bits, those of 2 and 4 bits one to a byte.
 * @useDeclaredType
 */
export type DType = keyof typeof dtypes;

/** The arrays whose elements are plain numbers. */
export type NumberArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array;
/** What holds a tensor's elements. */
export type TypedArray = NumberArray | BigInt64Array | BigUint64Array;

export const isFloat = (dtype: DType): boolean =>
  dtype === "float32" || dtype === "float64" || dtype === "float16" || dtype === "bfloat16";

/** Bytes that `count` elements take in a file: packed, the last byte padded. */
export const packedBytes = (dtype: DType, count: number): number => Math.ceil((dtypes[dtype].bits * count) / 8);
