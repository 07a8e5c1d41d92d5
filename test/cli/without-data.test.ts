import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { createRandom } from "../support/random.ts";
import { runCli } from "../support/run-cli.ts";
import { tinyOrigin } from "../support/tiny-classifier.ts";

const root = mkdtempSync(join(tmpdir(), "frostbit-without-data-"));
afterAll(() => rmSync(root, { recursive: true }));

beforeAll(() => {
  const random = createRandom(1);
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["batch", "length", 64] });
  const weight = build.constant(random.tensor("float32", [64, 96]), "w.weight");
  const graph = build.graph([build.node("Tanh", [build.node("MatMul", [x, weight])], {}, "y")]);
  writeFileSync(join(root, "model.onnx"), writeOnnx({ graph, origin: tinyOrigin }, { opset: 17 }));
});

const quantize = (...args: readonly string[]) => runCli(["quantize", "model.onnx", ...args], root);

describe("quantize without data", () => {
  test("writes the forms that need none, and says which to take", async () => {
    const { code, stdout, stderr } = await quantize("--out", "all");
    expect([code, stderr]).toEqual([0, expect.not.stringContaining("error")]);
    for (const name of ["fp16", "quantized", "q4", "q4f16"]) {
      expect(existsSync(join(root, `all/model_${name}.onnx`))).toBe(true);
      expect(stdout).toMatch(
        new RegExp(`all/model_${name}\\.onnx +\\d.* kB \\(0\\.\\d\\d\\) .* ms \\(.*\\) .* dB +(1\\.0|0\\.9)\\d+`),
      );
    }
    expect(stdout).toMatch(/made up \(batch 1, length 64\)/);
    expect(stdout).toMatch(/\nTake all\/model_/);
  });

  test("--json prints what forms.json holds", async () => {
    const result = await quantize(
      "--out",
      "some",
      "--forms",
      "q8,w8",
      "--sizes",
      "length=5",
      "--group-size",
      "16",
      "--json",
    );
    expect(result.json()).toEqual(JSON.parse(readFileSync(join(root, "some/forms.json"), "utf8")));
    expect(result.json()).toMatchObject({
      files: [
        { form: "q8", path: "some/model_quantized.onnx", agreement: [{ output: "y" }] },
        { form: "w8", path: "some/model_w8.onnx" },
      ],
      refused: [],
      sizes: { batch: 1, length: 5 },
    });
  });

  test.each([
    [["--method", "qat"], /^error: --method: not without data\. Give --data, .*--forms chooses what\./],
    [["--overwrite"], /^error: --overwrite: not without data\./],
    [["--forms", "q3"], /^error: --forms is q3; did you mean "q8"\? Expected .*q4/],
    [["--group-size", "whole"], /^error: --group-size is whole; expected/],
    [["--sizes", "lenght=4"], /^error: sizes names lenght; the model's symbolic sizes are batch, length/],
  ])("%j is refused", async (args, message) => {
    const { code, stderr } = await quantize("--out", "none", ...args);
    expect([code, stderr]).toEqual([1, expect.stringMatching(message)]);
  });

  test("where no form can hold the model, the code says so", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["n", 4] });
    writeFileSync(
      join(root, "bare.onnx"),
      writeOnnx({ graph: build.graph([build.node("Tanh", [x])]), origin: tinyOrigin }, { opset: 17 }),
    );
    const { code, stdout } = await runCli(["quantize", "bare.onnx", "--forms", "q8", "--out", "bare"], root);
    expect([code, stdout]).toEqual([1, expect.stringContaining("q8 is not written. It has no matrix product")]);
  });
});
