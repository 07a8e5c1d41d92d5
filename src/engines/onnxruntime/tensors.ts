// Tensors of ours ⇄ tensors of ONNX Runtime. The elements are shared where both hold them alike.
import { type DType, dtypes, packedBytes } from "../../ir/dtype.ts";
import { assert, FrostbitError } from "../../ir/errors.ts";
import { allocate, sizeOf, type Tensor, tensor } from "../../ir/tensor.ts";
import type { OrtModule, OrtTensor } from "./ort-module.ts";

const isPacked = (dtype: DType): boolean => dtypes[dtype].bits === 4;

/** `Float16Array`, where this JavaScript has it: ONNX Runtime then wants it. */
type Float16Constructor = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => ArrayBufferView;
const float16Array = (): Float16Constructor | undefined => Reflect.get(globalThis, "Float16Array");

export function toOrt(ort: OrtModule, name: string, { dtype, shape, data }: Tensor): OrtTensor {
  if (dtype === "bfloat16")
    throw new FrostbitError(
      "ENGINE",
      `"${name}" is bfloat16, which ONNX Runtime's JavaScript interface does not take.`,
    );
  const Float16 = dtype === "float16" ? float16Array() : undefined;
  const elements = isPacked(dtype)
    ? pack(dtype, data)
    : Float16
      ? new Float16(data.buffer, data.byteOffset, data.length)
      : data;
  return new ort.Tensor(dtype as "float32", elements as Float32Array, shape);
}

export function fromOrt(name: string, value: OrtTensor): Tensor {
  const dtype = value.type as DType;
  if (!(value.type in dtypes))
    throw new FrostbitError("ENGINE", `"${name}" is ${value.type}; expected numbers or booleans.`);
  const shape = [...value.dims];
  const data: ArrayBufferView = value.data as unknown as ArrayBufferView;
  if (isPacked(dtype)) return tensor(dtype, shape, unpack(dtype, data as Uint8Array, sizeOf(shape)));
  const { array } = dtypes[dtype];
  const elements = data instanceof array ? data : new array(data.buffer as ArrayBuffer, data.byteOffset, sizeOf(shape));
  return tensor(dtype, shape, elements);
}

/** Two elements to a byte, the first in the low half. */
function pack(dtype: DType, data: Tensor["data"]): Uint8Array {
  const packed = new Uint8Array(packedBytes(dtype, data.length));
  for (let i = 0; i < data.length; i++) packed[i >> 1] |= (Number(data[i]) & 15) << (4 * (i & 1));
  return packed;
}

function unpack(dtype: DType, packed: Uint8Array, length: number): Tensor["data"] {
  const data = allocate(dtype, length);
  assert(data instanceof Int8Array || data instanceof Uint8Array, `${dtype} is held in bytes`);
  for (let i = 0; i < length; i++) {
    const nibble = (packed[i >> 1] >> (4 * (i & 1))) & 15;
    data[i] = dtype === "int4" && nibble > 7 ? nibble - 16 : nibble;
  }
  return data;
}
