// TensorProto → Tensor: sizes are checked before anything is allocated.
import { type TensorProto, TensorProto_DataLocation } from "onnx-buf";
import { type DType, packedBytes, type TypedArray } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { isPacked, unpack } from "../ir/packing.ts";
import { allocate, sizeOf, type Tensor } from "../ir/tensor.ts";
import { type ByteSource, elementsOf, minStoredBytes, storedTensor } from "../ir/tensor-source.ts";
import { codeName, dtypeOfCode } from "./data-types.ts";
import { type ExternalSource, openExternal } from "./external-data.ts";

const maxElements = 2 ** 31;
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
  int2: "int32Data",
  uint2: "int32Data",
};

const bad = (message: string): FrostbitError => new FrostbitError("BAD_MODEL", message);

/** What tensors are decoded with. */
export interface TensorContext {
  readonly external: ExternalSource | undefined;
  /** Takes what is of a type that we do not hold. */
  readonly unsupported: (what: string) => void;
  /** The raw data of this tensor, where it was left in the model's file. */
  readonly raw?: ByteSource | undefined;
}

/** `where` names the tensor in messages; a type that we do not hold gives `undefined`. */
export function decodeTensor(proto: TensorProto, where: string, context: TensorContext): Tensor | undefined {
  const dtype = dtypeOfCode(proto.dataType);
  if (!dtype) {
    const known = codeName(proto.dataType);
    if (!known) throw bad(`${where} has the element type ${proto.dataType}, which ONNX does not have.`);
    context.unsupported(`${where} has elements of type ${known}`);
    return undefined;
  }
  if (proto.segment) throw bad(`${where} is split into segments, which ONNX Runtime does not read either.`);
  const shape = decodeDims(proto.dims, where);
  const count = sizeOf(shape);
  const sizeBytes = packedBytes(dtype, count);
  const read = openData(proto, dtype, shape, where, context);
  if (!read) return { dtype, shape, data: decodeData(proto, dtype, shape, where) };
  const elements = (): TypedArray => fromBytes(read(), dtype, count);
  return sizeBytes < minStoredBytes ? { dtype, shape, data: elements() } : storedTensor(dtype, shape, elements);
}

function decodeDims(dims: readonly bigint[], where: string): number[] {
  if (dims.length > maxRank) throw bad(`${where} has ${dims.length} dimensions; expected at most ${maxRank}.`);
  const printed = (): string => `[${dims.join(", ")}]`;
  if (dims.some((dim) => dim < 0n)) throw bad(`${where} has the shape ${printed()}; sizes cannot be negative.`);
  const shape = dims.map(Number);
  if (sizeOf(shape) > maxElements || shape.some((size) => size > maxElements))
    throw bad(`${where} has the shape ${printed()}: more than 2^31 elements.`);
  return shape;
}

/** What reads the bytes of a tensor whose data is not in its proto. */
function openData(
  proto: TensorProto,
  dtype: DType,
  shape: readonly number[],
  where: string,
  { external, raw }: TensorContext,
): (() => Uint8Array) | undefined {
  const sizeBytes = packedBytes(dtype, sizeOf(shape));
  if (proto.dataLocation === TensorProto_DataLocation.EXTERNAL) return openExternal(proto, where, sizeBytes, external);
  if (!raw) return undefined;
  checkRawBytes(raw.sizeBytes, dtype, shape, where);
  return () => raw.read(0, sizeBytes);
}

function checkRawBytes(given: number, dtype: DType, shape: readonly number[], where: string): void {
  const sizeBytes = packedBytes(dtype, sizeOf(shape));
  if (given !== sizeBytes)
    throw bad(`${where} has ${given} bytes of data; ${dtype} of shape [${shape.join(", ")}] takes ${sizeBytes}.`);
}

function decodeData(proto: TensorProto, dtype: DType, shape: readonly number[], where: string): TypedArray {
  const typed = proto[fields[dtype]];
  if (proto.rawData.length === 0 && typed.length > 0) return fromField(typed, dtype, shape, where);
  checkRawBytes(proto.rawData.length, dtype, shape, where);
  // A copy: the proto's bytes are the file's, which belong to the caller.
  return fromBytes(new Uint8Array(proto.rawData), dtype, sizeOf(shape));
}

/** Little-endian bytes as files hold them → one element per array entry. */
function fromBytes(bytes: Uint8Array, dtype: DType, count: number): TypedArray {
  return isPacked(dtype) ? unpack(dtype, bytes, count) : elementsOf(bytes, dtype, count);
}

function fromField(
  values: readonly (number | bigint)[],
  dtype: DType,
  shape: readonly number[],
  where: string,
): TypedArray {
  const count = sizeOf(shape);
  const expected = isPacked(dtype) ? packedBytes(dtype, count) : count;
  if (values.length !== expected)
    throw bad(
      `${where} has ${values.length} entries of data; ${dtype} of shape [${shape.join(", ")}] takes ${expected}.`,
    );
  if (isPacked(dtype)) return unpack(dtype, Uint8Array.from(values as readonly number[]), count);
  const result = allocate(dtype, count);
  if (result instanceof BigInt64Array || result instanceof BigUint64Array) {
    for (let i = 0; i < count; i++) result[i] = values[i] as bigint;
  } else {
    for (let i = 0; i < count; i++) result[i] = Number(values[i]);
  }
  return result;
}
