import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { describeWithData } from "../../test/support/frostbit-data.ts";
import { writeOnnx } from "../onnx/write.ts";
import { evaluateText } from "./evaluate-text.ts";
import { readModel } from "./read-model.ts";

const root = mkdtempSync(join(tmpdir(), "frostbit-text-"));
afterAll(() => rmSync(root, { recursive: true }));

test("a length beyond the model's context is refused, and a folder that says none", async () => {
  const modelPath = join(import.meta.dirname, "../../test/oracles/decoders/mistral");
  const textPath = join(root, "a.txt");
  writeFileSync(textPath, "a");
  await expect(evaluateText({ modelPath, textPath, length: 33 })).rejects.toThrow(
    "length is 33; the model's context has 32 tokens.",
  );
  await expect(evaluateText({ modelPath: join(root, "model.onnx"), textPath })).rejects.toThrow("give --length.");
});

describeWithData("stories260k", (data) => {
  const folder = join(data, "stories260k/hf");
  const textPath = join(data, "stories260k/tinystories_eval.json");

  // Of the first three stories, 4.3468 by another implementation.
  test("has the perplexity that it is known to have, on an engine and as a file in ONNX Runtime", async () => {
    const onEngine = await evaluateText({ modelPath: folder, textPath, limit: 3, engine: "onnxruntime" });
    expect(onEngine.predictions).toBe(670);
    expect(onEngine.perplexity).toBeCloseTo(4.3468, 3);
    const exported = join(root, "exported");
    cpSync(folder, exported, { recursive: true });
    writeFileSync(join(exported, "model.onnx"), writeOnnx(readModel(folder), { opset: 23 }));
    const asFile = await evaluateText({ modelPath: exported, textPath, limit: 3 });
    expect(asFile).toEqual({ ...onEngine, loss: expect.closeTo(onEngine.loss, 5), perplexity: expect.anything() });
  });
});
