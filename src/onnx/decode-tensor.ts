// TensorProto → Tensor: sizes are checked before anything is allocated.
import { type TensorProto, TensorProto_DataLocation } from "onnx-buf";
import { type DType, dtypes, packedBytes, type TypedArray } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { allocate, sizeOf, type Tensor } from "../ir/tensor.ts";
import { codeName, dtypeOfCode } from "./data-types.ts";
import { type ExternalSource, readExternal } from "./external-data.ts";

export const maxElements = 2 ** 31;
const maxRank = 64;

type TypedField = "floatData" | "doubleData" | "int32Data" | "int64Data" | "uint64Data";

/** Which field holds the elements of each type where there is no raw data. */
const fields: Readonly<Record<DType, TypedField>> = {
  float32: "floatData",
  float64: "doubleData",
  float16: "int32Data",
  bfloat16: "int32Data",
  int8: "int32Data",
  uint8: "int32Data",
  int16: "int32Data",
  uint16: "int32Data",
  int32: "int32Data",
  uint32: "uint64Data",
  int64: "int64Data",
  uint64: "uint64Data",
  bool: "int32Data",
  int4: "int32Data",
  uint4: "int32Data",
};

const bad = (message: string): FrostbitError => new FrostbitError("BAD_MODEL", message);

/** `where` names the tensor in messages; a type that we do not hold goes to `unsupported` and gives `undefined`. */
export function decodeTensor(
  proto: TensorProto,
  where: string,
  external: ExternalSource | undefined,
  unsupported: (what: string) => void,
): Tensor | undefined {
  const dtype = dtypeOfCode(proto.dataType);
  if (!dtype) {
    const known = codeName(proto.dataType);
    if (!known) throw bad(`${where} has the element type ${proto.dataType}, which ONNX does not have.`);
    unsupported(`${where} has elements of type ${known}`);
    return undefined;
  }
  if (proto.segment) throw bad(`${where} is split into segments, which ONNX Runtime does not read either.`);
  const shape = decodeDims(proto.dims, where);
  return { dtype, shape, data: decodeData(proto, dtype, shape, where, external) };
}

function decodeDims(dims: readonly bigint[], where: string): number[] {
  if (dims.length > maxRank) throw bad(`${where} has ${dims.length} dimensions; expected at most ${maxRank}.`);
  const printed = `[${dims.join(", ")}]`;
  if (dims.some((dim) => dim < 0n)) throw bad(`${where} has the shape ${printed}; sizes cannot be negative.`);
  const shape = dims.map(Number);
  if (sizeOf(shape) > maxElements || shape.some((size) => size > maxElements))
    throw bad(`${where} has the shape ${printed}: more than 2^31 elements.`);
  return shape;
}

function decodeData(
  proto: TensorProto,
  dtype: DType,
  shape: readonly number[],
  where: string,
  external: ExternalSource | undefined,
): TypedArray {
  const count = sizeOf(shape);
  const sizeBytes = packedBytes(dtype, count);
  if (proto.dataLocation === TensorProto_DataLocation.EXTERNAL)
    return fromBytes(readExternal(proto, where, sizeBytes, external), dtype, count);
  const typed = proto[fields[dtype]];
  if (proto.rawData.length === 0 && typed.length > 0) return fromField(typed, dtype, shape, where);
  if (proto.rawData.length !== sizeBytes)
    throw bad(
      `${where} has ${proto.rawData.length} bytes of data; ${dtype} of shape [${shape.join(", ")}] takes ${sizeBytes}.`,
    );
  return fromBytes(proto.rawData, dtype, count);
}

/** Little-endian bytes as files hold them → one element per array entry. */
function fromBytes(bytes: Uint8Array, dtype: DType, count: number): TypedArray {
  if (dtypes[dtype].bits === 4) return unpackNibbles(bytes, dtype, count);
  const copy = new Uint8Array(bytes); // a buffer of its own: typed arrays want aligned offsets
  return new dtypes[dtype].array(copy.buffer, 0, count);
}

/** Two elements per byte, the first in the low nibble. */
function unpackNibbles(bytes: Uint8Array, dtype: DType, count: number): TypedArray {
  const result = allocate(dtype, count) as Int8Array | Uint8Array;
  const shift = dtype === "int4" ? 28 : 0; // moves the sign bit to the top and back
  for (let i = 0; i < count; i++) {
    const nibble = (bytes[i >> 1] >> ((i & 1) * 4)) & 15;
    result[i] = (nibble << shift) >> shift;
  }
  return result;
}

function fromField(
  values: readonly (number | bigint)[],
  dtype: DType,
  shape: readonly number[],
  where: string,
): TypedArray {
  const count = sizeOf(shape);
  const isPacked = dtypes[dtype].bits === 4;
  const expected = isPacked ? Math.ceil(count / 2) : count;
  if (values.length !== expected)
    throw bad(
      `${where} has ${values.length} entries of data; ${dtype} of shape [${shape.join(", ")}] takes ${expected}.`,
    );
  if (isPacked) return unpackNibbles(Uint8Array.from(values as readonly number[]), dtype, count);
  const result = allocate(dtype, count);
  if (result instanceof BigInt64Array || result instanceof BigUint64Array) {
    for (let i = 0; i < count; i++) result[i] = values[i] as bigint;
  } else {
    for (let i = 0; i < count; i++) result[i] = Number(values[i]);
  }
  return result;
}
