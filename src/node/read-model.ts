// Reads a model file; external data comes from its folder alone.
import { existsSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, relative, sep } from "node:path";
import { FrostbitError } from "../ir/errors.ts";
import type { OnnxModel } from "../ir/graph.ts";
import type { ByteSource } from "../ir/tensor-source.ts";
import type { ExternalSource } from "../onnx/external-data.ts";
import { describeFolder, describeOtherFormat, formatOf, headBytes, isRead } from "../onnx/model-formats.ts";
import { fileSource } from "./file-source.ts";
import { modelReaders } from "./model-readers.ts";

/**
 * Reads an ONNX file of opset 7 to 25 and the external data beside it, which must lie in its folder or below. The graph has the
 * operators of opset 25, whatever the file has. Large tensors stay in their files, which must not change meanwhile, and are read
 * whenever they are used. Bytes in memory are read by `readOnnx`. Throws IO where a file cannot be read, BAD_MODEL where it is no ONNX model, UNSUPPORTED_OP with all nodes that cannot be handled.
 *
 * @example
 * const { graph, origin } = readModel("resnet20.onnx");
 */
export function readModel(path: string): OnnxModel {
  if (typeof path !== "string")
    throw new FrostbitError("BAD_OPTION", "readModel takes the path of a file; readOnnx reads bytes.");
  const name = basename(path);
  assertNoFolder(path, name);
  const file = fileSource(path);
  const format = formatOf(headOf(file), name);
  // ONNX files have no mark of their own, so that its reader tries all others, and says what it cannot read.
  const read = modelReaders[format !== undefined && isRead(format) ? format : "onnx"];
  return read(file, { name, external: filesBeside(path) });
}

const headOf = (file: ByteSource): Uint8Array => file.read(0, Math.min(headBytes, file.sizeBytes));

/** Names folders of formats that are folders. */
function assertNoFolder(path: string, name: string): void {
  const other = describeFolder((file) => existsSync(join(path, file)));
  if (other !== undefined) throw new FrostbitError("BAD_MODEL", `${name}: ${other}`);
}

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
