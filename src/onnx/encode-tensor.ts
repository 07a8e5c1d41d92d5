// Tensor → TensorProto, its bytes in the proto or in a file beside the model.
import { create, toBinary } from "@bufbuild/protobuf";
import { StringStringEntryProtoSchema, type TensorProto, TensorProto_DataLocation, TensorProtoSchema } from "onnx-buf";
import { packedBytes, type TypedArray } from "../ir/dtype.ts";
import { isPacked, pack } from "../ir/packing.ts";
import { sizeOf, type Tensor } from "../ir/tensor.ts";
import { elementsInParts } from "../ir/tensor-source.ts";
import { dtypeCode } from "./data-types.ts";
import { fieldNumbers, fieldOf, type Piece, pieceOf } from "./pieces.ts";

/** The file that takes tensors' bytes; they are appended in the order of writing. */
export interface ExternalTarget {
  /** The file's name, relative to the model. */
  readonly location: string;
  /** Takes the next bytes of the file. */
  readonly append: (bytes: Uint8Array) => void;
}

/** Smaller tensors stay in the model's own file. */
const minExternalBytes = 1024;
/** Offsets are aligned so that the file can be mapped into memory, on Windows too. */
const alignment = 65536;

export const encodeTensor = (name: string, value: Tensor): TensorProto =>
  create(TensorProtoSchema, { ...head(name, value), rawData: rawBytes(value) });

export type EncodeTensor = (name: string, value: Tensor) => readonly Piece[];

/** As `encodeTensor`; the tensor is read when its piece is made. */
export const tensorPieces: EncodeTensor = (name, value) => [
  pieceOf(toBinary(TensorProtoSchema, create(TensorProtoSchema, head(name, value)))),
  ...fieldOf(fieldNumbers.tensorRawData, [
    { sizeBytes: packedBytes(value.dtype, sizeOf(value.shape)), parts: () => rawParts(value) },
  ]),
];

function* rawParts(value: Tensor): Generator<Uint8Array, void, undefined> {
  if (isPacked(value.dtype)) return yield rawBytes(value);
  for (const data of elementsInParts(value)) yield bytesOf(data);
}

/** An encoder that moves large tensors to `target`, one after the other. */
export function externalEncoder(target: ExternalTarget): EncodeTensor {
  let end = 0;
  return (name, value) => {
    if (packedBytes(value.dtype, sizeOf(value.shape)) < minExternalBytes) return tensorPieces(name, value);
    const bytes = rawBytes(value);
    const offset = Math.ceil(end / alignment) * alignment;
    if (offset > end) target.append(new Uint8Array(offset - end));
    target.append(bytes);
    end = offset + bytes.length;
    const externalData = Object.entries({ location: target.location, offset, length: bytes.length }).map(
      ([key, entry]) => create(StringStringEntryProtoSchema, { key, value: String(entry) }),
    );
    const dataLocation = TensorProto_DataLocation.EXTERNAL;
    const proto = create(TensorProtoSchema, { ...head(name, value), dataLocation, externalData });
    return [pieceOf(toBinary(TensorProtoSchema, proto))];
  };
}

const head = (name: string, value: Tensor) => ({
  name,
  dims: value.shape.map(BigInt),
  dataType: dtypeCode(value.dtype) as number,
});

/** The elements as files hold them: little-endian, narrow types packed. */
function rawBytes({ dtype, data }: Tensor): Uint8Array<ArrayBuffer> {
  if (isPacked(dtype)) return pack(dtype, data as Int8Array | Uint8Array);
  return bytesOf(data);
}

const bytesOf = (data: TypedArray): Uint8Array<ArrayBuffer> =>
  new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
