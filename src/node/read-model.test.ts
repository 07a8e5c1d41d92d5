import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readBytes } from "../../test/support/frostbit-data.ts";
import { modelBytes, node } from "../../test/support/onnx-model.ts";
import { FrostbitError } from "../ir/errors.ts";
import { type FormatName, type ModelFormat, modelFormats } from "../onnx/model-formats.ts";
import { readModel } from "./read-model.ts";

const latin1 = (text: string): Uint8Array => Buffer.concat([Buffer.from(text, "latin1"), Buffer.alloc(100)]);

const oracle = (file: string): Uint8Array =>
  readBytes(import.meta.dirname, "../../test/oracles/decoders/mistral", file);

/** A file of each format, by its path. */
const examples: Readonly<Record<FormatName, readonly [path: string, bytes: Uint8Array]>> = {
  onnx: ["model", modelBytes({ nodes: [node("Relu", ["x"], ["y"])] })],
  gitLfs: ["pointer.onnx", latin1("version https://git-lfs.github.com/spec/v1\noid sha256:4d\n")],
  tensorFlowLite: ["model.tflite", latin1("\x1c\0\0\0TFL3\x14\0 \0")],
  onnxRuntime: ["model.ort", latin1("\x18\0\0\0ORTM\0\0")],
  zip: ["model.pt", latin1("PK\x03\x04archive/data.pkl")],
  pickle: ["model.pth", latin1("\x80\x02\x8a\nl\xfc\x9cF")],
  hdf5: ["model.h5", latin1("\x89HDF\r\n\x1a\n")],
  savedModel: ["saved/saved_model.pb", latin1("\x08\x01\x12")],
  tensorFlowGraph: ["frozen.pb", latin1("\x0a\x10\x0a\x01x")],
  huggingFace: ["decoder/config.json", oracle("config.json")],
  gguf: ["model.gguf", latin1("GGUF\x03\0\0\0")],
  gzip: ["model.onnx.gz", latin1("\x1f\x8b\x08\0")],
  numpy: ["x.npy", latin1("\x93NUMPY\x01\0")],
  safetensors: ["model.safetensors", latin1('\x40\0\0\0\0\0\0\0{"w":{"dtype":"F32"')],
  coreMl: ["model.mlmodel", latin1("\x08\x04\x12\x0a")],
  openVino: ["model.xml", latin1('<?xml version="1.0"?>\n<net name="x" version="11">')],
  markup: ["page.onnx", latin1("<!DOCTYPE html><html></html>")],
  json: ["data.json", latin1('{"a": 1}')],
};

const root = mkdtempSync(join(tmpdir(), "frostbit-formats-"));

beforeAll(() => {
  for (const [path, bytes] of Object.values(examples)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), bytes);
  }
  writeFileSync(join(root, "decoder/model.safetensors"), oracle("model.safetensors"));
});

afterAll(() => rmSync(root, { recursive: true }));

/** What reading throws; undefined where it reads. */
function errorOf(path: string): FrostbitError | undefined {
  try {
    readModel(path);
    return undefined;
  } catch (error) {
    if (error instanceof FrostbitError) return error;
    throw error;
  }
}

describe("a model of each format", () => {
  const formats = Object.entries(modelFormats) as [FormatName, ModelFormat][];

  test.each(formats)("%s is read, or named with what to do", (name, { description, folderHolds, remedy }) => {
    const path = join(root, examples[name][0]);
    const error = errorOf(folderHolds !== undefined && path.endsWith(folderHolds) ? dirname(path) : path);
    expect(error?.code).toBe(remedy && "BAD_MODEL");
    if (remedy !== undefined) expect(error?.message).toContain(`is ${description}, and no ONNX model. ${remedy}`);
  });

  test("an ONNX file may have any name", () => {
    const path = join(root, "onnx.pb");
    writeFileSync(path, examples.onnx[1]);
    expect(readModel(path).graph.nodes).toHaveLength(1);
  });

  test("a folder of no format is no file", () => {
    expect(errorOf(root)?.message).toContain("it is a folder; expected a file");
  });
});

test("bytes in the place of a path are not printed", () => {
  expect(() => readModel(new Uint8Array(1000) as never)).toThrow(
    "readModel takes the path of a file; readOnnx reads bytes.",
  );
});
