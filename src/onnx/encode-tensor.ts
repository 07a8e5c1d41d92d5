// Tensor → TensorProto, its bytes in the proto or in a file beside the model.
import { create } from "@bufbuild/protobuf";
import { StringStringEntryProtoSchema, type TensorProto, TensorProto_DataLocation, TensorProtoSchema } from "onnx-buf";
import { dtypes, packedBytes } from "../ir/dtype.ts";
import type { Tensor } from "../ir/tensor.ts";
import { dtypeCode } from "./data-types.ts";

/** The file that takes tensors' bytes; they are appended in the order of writing. */
export interface ExternalTarget {
  /** The file's name, relative to the model. */
  readonly location: string;
  /** Takes the next bytes of the file. */
  readonly append: (bytes: Uint8Array) => void;
}

/** Smaller tensors stay in the model's own file. */
export const leastExternalBytes = 1024;
/** Offsets are aligned so that the file can be mapped into memory, on Windows too. */
const alignment = 65536;

export const encodeTensor = (name: string, value: Tensor): TensorProto =>
  create(TensorProtoSchema, { ...head(name, value), rawData: rawBytes(value) });

/** An encoder that moves large tensors to `target`. */
export function externalEncoder(target: ExternalTarget): (name: string, value: Tensor) => TensorProto {
  let end = 0;
  return (name, value) => {
    const bytes = rawBytes(value);
    if (bytes.length < leastExternalBytes) return encodeTensor(name, value);
    const offset = Math.ceil(end / alignment) * alignment;
    if (offset > end) target.append(new Uint8Array(offset - end));
    target.append(bytes);
    end = offset + bytes.length;
    const externalData = Object.entries({ location: target.location, offset, length: bytes.length }).map(
      ([key, entry]) => create(StringStringEntryProtoSchema, { key, value: String(entry) }),
    );
    return create(TensorProtoSchema, {
      ...head(name, value),
      dataLocation: TensorProto_DataLocation.EXTERNAL,
      externalData,
    });
  };
}

const head = (name: string, value: Tensor) => ({
  name,
  dims: value.shape.map(BigInt),
  dataType: dtypeCode(value.dtype) as number,
});

/** The elements as files hold them: little-endian, 4-bit types packed. */
function rawBytes({ dtype, data }: Tensor): Uint8Array<ArrayBuffer> {
  if (dtypes[dtype].bits === 4) return packNibbles(data as Int8Array | Uint8Array);
  return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
}

/** Two elements per byte, the first in the low nibble; the last nibble padded with 0. */
function packNibbles(data: Int8Array | Uint8Array): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(packedBytes("int4", data.length));
  for (let i = 0; i < data.length; i++) result[i >> 1] |= (data[i] & 15) << ((i & 1) * 4);
  return result;
}
