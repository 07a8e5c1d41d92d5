// What reads each format of model files that is read: `onnx/model-formats.ts` says how it is recognized.
import type { OnnxModel } from "../ir/graph.ts";
import type { ByteSource } from "../ir/tensor-source.ts";
import type { ReadFormat } from "../onnx/model-formats.ts";
import { type ReadOptions, readOnnx } from "../onnx/read.ts";

/** Gives a graph of the operators that frostbit has; BAD_MODEL or UNSUPPORTED_OP where it cannot. Large tensors may stay in the file. */
export type ModelReader = (file: ByteSource, options: ReadOptions) => OnnxModel;

export const modelReaders: { readonly [Format in ReadFormat]: ModelReader } = {
  onnx: readOnnx,
};
