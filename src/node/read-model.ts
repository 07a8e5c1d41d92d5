// Reads a model file; external data comes from its folder alone.
import { existsSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { FrostbitError } from "../ir/errors.ts";
import type { OnnxModel } from "../ir/graph.ts";
import type { ByteSource } from "../ir/tensor-source.ts";
import { type ModelFolder, weightFiles } from "../language-models/checkpoint.ts";
import type { ExternalSource } from "../onnx/external-data.ts";
import { externalLocations } from "../onnx/external-locations.ts";
import {
  describeFolder,
  describeOtherFormat,
  formatOf,
  formatOfFolder,
  headBytes,
  isRead,
  type ModelFormat,
  modelFormats,
  type ReadFormat,
} from "../onnx/model-formats.ts";
import { fileSource } from "./file-source.ts";
import { modelReaders } from "./model-readers.ts";

/**
 * Reads an ONNX file of opset 7 to 25 and the external data beside it, which must lie in its folder or below; or the folder of a
 * language model, config.json and safetensors files, as Hugging Face has them. The graph has the operators of opset 25, whatever
 * the file has. Large tensors stay in their files, which must not change meanwhile, and are read whenever they are used. Bytes in
 * memory are read by `readOnnx`. Throws IO where a file cannot be read, BAD_MODEL where it is no model that is read, UNSUPPORTED_OP
 * with all nodes that cannot be handled.
 *
 * @example
 * const { graph, origin } = readModel("resnet20.onnx");
 */
export function readModel(path: string): OnnxModel {
  if (typeof path !== "string")
    throw new FrostbitError("BAD_OPTION", "readModel takes the path of a file; readOnnx reads bytes.");
  const name = basename(resolve(path));
  const { file, format } = modelFileOf(path, name);
  return modelReaders[format](fileSource(file), {
    name,
    external: filesBeside(file),
    folder: modelFolder(dirname(file)),
  });
}

/** The file to open first, and its format. */
export function modelFileOf(
  path: string,
  name = basename(path),
): { readonly file: string; readonly format: ReadFormat } {
  const { holds } = modelFolder(path);
  const ofFolder = formatOfFolder(holds);
  if (ofFolder === undefined) {
    const format = formatOf(headOf(fileSource(path)), name);
    // ONNX files have no mark of their own, so that its reader tries all others, and says what it cannot read.
    return { file: path, format: format !== undefined && isRead(format) ? format : "onnx" };
  }
  if (!isRead(ofFolder)) throw new FrostbitError("BAD_MODEL", `${name}: ${describeFolder(ofFolder)}`);
  const { folderHolds = "" }: ModelFormat = modelFormats[ofFolder];
  return { file: join(path, folderHolds), format: ofFolder };
}

/** The file to open first, and the names of those in its folder that hold the model's tensors. */
export function modelFilesOf(path: string): { readonly file: string; readonly beside: readonly string[] } {
  const { file, format } = modelFileOf(path);
  return {
    file,
    beside: format === "huggingFace" ? weightFiles(modelFolder(path)) : externalLocations(fileSource(file)),
  };
}

/** Links may lead anywhere: folders of downloaded models are full of them, and no file names another. */
export const modelFolder = (path: string): ModelFolder => ({
  holds: (file) => existsSync(join(path, file)),
  open: (file) => fileSource(join(path, file)),
});

const headOf = (file: ByteSource): Uint8Array => file.read(0, Math.min(headBytes, file.sizeBytes));

/** For files that ONNX Runtime opens itself: throws where there is none, or where it begins as another format does. */
export function checkModelFile(path: string): void {
  const head = headOf(fileSource(path));
  const other = head.length === 0 ? "the file is empty." : describeOtherFormat(head);
  if (other !== undefined) throw new FrostbitError("BAD_MODEL", `${basename(path)}: ${other}`);
}

function filesBeside(path: string): ExternalSource {
  const opened = new Map<string, ByteSource>();
  return (location) => {
    const file = opened.get(location) ?? openBeside(path, location);
    opened.set(location, file);
    return file;
  };
}

/** Refuses links that lead out of the model's folder. */
function openBeside(path: string, location: string): ByteSource {
  const folder = realpathSync(dirname(path));
  const file = resolveFile(join(folder, location), location, path);
  if (relative(folder, file).split(sep)[0] === "..")
    throw new FrostbitError(
      "BAD_MODEL",
      `the external file "${location}" is a link to "${file}", outside the model's folder. Copy it beside the model.`,
    );
  if (!statSync(file).isFile())
    throw new FrostbitError("BAD_MODEL", `the external file "${location}" is not a regular file.`);
  return fileSource(file);
}

function resolveFile(file: string, location: string, path: string): string {
  try {
    return realpathSync(file);
  } catch (cause) {
    throw new FrostbitError(
      "IO",
      `the external file "${location}" is not in the model's folder "${dirname(path)}". Put it beside the model.`,
      { cause },
    );
  }
}
