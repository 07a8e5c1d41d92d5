// What reads each format of model files that is read: `onnx/model-formats.ts` says how it is recognized.
import type { OnnxModel } from "../ir/graph.ts";
import type { ByteSource } from "../ir/tensor-source.ts";
import type { ModelFolder } from "../language-models/checkpoint.ts";
import { readLanguageModel } from "../language-models/read.ts";
import type { ReadFormat } from "../onnx/model-formats.ts";
import { type ReadOptions, readOnnx } from "../onnx/read.ts";

interface ReaderOptions extends ReadOptions {
  /** Where the file lies. */
  readonly folder: ModelFolder;
}

/** Gives a graph of the operators that frostbit has; BAD_MODEL or UNSUPPORTED_OP where it cannot. Large tensors may stay in the file. */
export type ModelReader = (file: ByteSource, options: ReaderOptions) => OnnxModel;

export const modelReaders: { readonly [Format in ReadFormat]: ModelReader } = {
  onnx: readOnnx,
  huggingFace: (_, { folder, name }) => readLanguageModel(folder, { name }),
};
