import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { quantizeForTransformersJs, type TransformersJsJob } from "./quantize-for-transformers-js.ts";
import { quantizeWithoutData, type WithoutDataJob } from "./quantize-without-data.ts";
import { readModel } from "./read-model.ts";

const root = mkdtempSync(join(tmpdir(), "frostbit-forms-"));
afterAll(() => rmSync(root, { recursive: true }));

function encoderAt(name: string): string {
  const folder = join(root, name);
  cpSync(join(import.meta.dirname, "../../test/oracles/encoders/bert"), folder, { recursive: true });
  return folder;
}

const inJson = (...path: readonly string[]) => JSON.parse(readFileSync(join(...path), "utf8"));

describe("quantizeWithoutData", () => {
  test("of a folder with safetensors counts the weights' files", async () => {
    const folder = encoderAt("weights");
    const { float, files } = await quantizeWithoutData({
      modelPath: folder,
      out: join(root, "forms"),
      forms: ["fp16"],
    });
    const sizes = ["config.json", "model.safetensors"].map((name) => statSync(join(folder, name)).size);
    expect(float.sizeBytes).toBe(sizes[0] + sizes[1]);
    expect(files.map(({ form }) => form)).toEqual(["fp16"]);
  });

  test.each<[object, string]>([
    [{ forms: ["q3"] }, 'a form is "q3"; expected "fp16"'],
    [{ forms: [] }, "forms is empty"],
    [{ forms: ["q8", "q8"] }, "forms is q8, q8; expected each form once"],
    [{ blockSize: 20 }, "blockSize is 20; expected 16, 32, 64, 128, 256"],
    [{ sizes: { sequence_length: 1.5 } }, "sizes.sequence_length is 1.5; expected a whole number of at least 0"],
    [{ sizes: { length: 4 } }, "sizes names length; the model's symbolic sizes are"],
    [{ seed: -1 }, "seed is -1"],
    [{ threads: 0 }, "threads is 0"],
    [{ blocksize: 16 }, "blocksize: no such option; did you mean blockSize?"],
  ])("%j is refused, for transformers.js too", async (given, message) => {
    const job = { forms: ["q8"], out: join(root, "refused"), ...given };
    const folder = join(import.meta.dirname, "../../test/oracles/encoders/bert");
    await expect(quantizeWithoutData({ modelPath: folder, ...job } as WithoutDataJob)).rejects.toThrow(message);
    await expect(quantizeForTransformersJs({ folder, ...job } as TransformersJsJob)).rejects.toThrow(message);
    expect(existsSync(join(root, "refused"))).toBe(false);
  });
});

describe("quantizeForTransformersJs", () => {
  test("into the model's own folder: the model is written where only its weights are there, and is left where it is", async () => {
    const folder = encoderAt("own");
    await quantizeForTransformersJs({ folder, out: folder, forms: ["fp16"] });
    const model = join(folder, "onnx/model.onnx");
    expect(readModel(model).graph.outputs).toEqual(["last_hidden_state"]);
    expect(inJson(folder, "config.json")["transformers.js_config"]).toEqual({ dtype: "fp16" });
    const before = statSync(model);
    symlinkSync(folder, join(root, "link"));
    const { float } = await quantizeForTransformersJs({ folder, out: join(root, "link"), forms: ["q8"] });
    expect(statSync(model)).toEqual({ ...before, atimeMs: expect.any(Number), atime: expect.any(Date) });
    expect(float.sizeBytes).toBe(before.size);
  });

  test("config.json says of no file that was written that its tensors are beside it", async () => {
    const folder = encoderAt("external");
    await quantizeForTransformersJs({ folder, out: folder, forms: ["fp16"] });
    const formatOf = async (given: unknown, out: string): Promise<unknown> => {
      const config = {
        ...inJson(folder, "config.json"),
        "transformers.js_config": { use_external_data_format: given },
      };
      writeFileSync(join(folder, "config.json"), JSON.stringify(config));
      await quantizeForTransformersJs({ folder, out, forms: ["q8"] });
      return inJson(out, "config.json")["transformers.js_config"].use_external_data_format;
    };
    expect(await formatOf(true, folder)).toEqual({ model: true, "model_quantized.onnx": false });
    expect(await formatOf({ "model.onnx": 2, "model_quantized.onnx": 1 }, folder)).toEqual({
      "model.onnx": 2,
      "model_quantized.onnx": false,
    });
    expect(await formatOf(false, folder)).toBeUndefined();
    expect(await formatOf(true, join(root, "whole"))).toBeUndefined();
  });

  test("a config.json that is no object is refused", async () => {
    const folder = encoderAt("null");
    writeFileSync(join(folder, "config.json"), "null");
    const given = { folder, out: join(root, "out"), forms: ["q8"] } as const;
    await expect(quantizeForTransformersJs(given)).rejects.toThrow("config.json is null; expected an object.");
  });
});
