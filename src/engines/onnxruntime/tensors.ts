// Tensors of ours ⇄ tensors of ONNX Runtime. The elements are shared where both hold them alike.
import { type DType, dtypes } from "../../ir/dtype.ts";
import { FrostbitError } from "../../ir/errors.ts";
import { isPacked, pack, unpack } from "../../ir/packing.ts";
import { sizeOf, type Tensor, tensor } from "../../ir/tensor.ts";
import type { OrtModule, OrtTensor } from "./ort-module.ts";

/** `Float16Array`, where this JavaScript has it: ONNX Runtime then wants it. */
type Float16Constructor = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => ArrayBufferView;
const float16Array = (): Float16Constructor | undefined => Reflect.get(globalThis, "Float16Array");

export function toOrt(ort: OrtModule, name: string, { dtype, shape, data }: Tensor): OrtTensor {
  if (dtype === "bfloat16" || dtypes[dtype].bits === 2)
    throw new FrostbitError(
      "ENGINE",
      `"${name}" is ${dtype}, which ONNX Runtime's JavaScript interface does not take.`,
    );
  const Float16 = dtype === "float16" ? float16Array() : undefined;
  const elements = isPacked(dtype)
    ? pack(dtype, data as Int8Array | Uint8Array)
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
