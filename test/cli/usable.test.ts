// frostbit quantize on a model that 8 bits ruin.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeNpy } from "../../src/data/npy.ts";
import { tensorOf } from "../../src/ir/tensor.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { createRandom } from "../support/random.ts";
import { type CliResult, runCli } from "../support/run-cli.ts";
import { tinyOrigin } from "../support/tiny-classifier.ts";

let folder = "";
const run = (...more: string[]): Promise<CliResult> =>
  runCli(
    ["quantize", "model.onnx", ...data, "--method", "ptq", "--weights", "8", "--activations", "8", ...more],
    folder,
  );
const data = ["--data", "npy:train.npy", "--test-data", "npy:test.npy", "--threads", "1"];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-usable-"));
  const random = createRandom(4);
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 8] });
  const w = build.constant(random.uniformTensor("float32", [8, 4], -1, 1), "w");
  const graph = build.graph([build.node("MatMul", [x, w], {}, "y")]);
  await writeFile(join(folder, "model.onnx"), writeOnnx({ graph, origin: tinyOrigin }, { opset: 18 }));
  const values = () => Array.from({ length: 32 * 8 }, () => random.normal());
  // One sample a million times as large as the others takes the whole range.
  const train = values().map((value, i) => (i < 8 ? 1e6 * value : value));
  await writeFile(join(folder, "train.npy"), writeNpy(tensorOf("float32", [32, 8], train)));
  await writeFile(join(folder, "test.npy"), writeNpy(tensorOf("float32", [32, 8], values())));
});
afterAll(() => rm(folder, { recursive: true }));

test("is not usable, says the table at its top and the exit code", async () => {
  const result = await run("--out", "lost");
  expect(result.code).toBe(1);
  expect(result.stdout).toMatch(
    /^Not usable: the file computes what was quantized, and that lost too much\.\n- output "y": it no longer varies\n/,
  );
});

test("--accept-loss ends with 0, and --json says what was lost", async () => {
  const result = await run("--out", "accepted", "--accept-loss", "--json");
  expect(result.code, result.stderr).toBe(0);
  expect(result.json()).toMatchObject({ usable: false, losses: ['output "y": it no longer varies'] });
});

test("the same model is usable with a range that fits", async () => {
  const result = await run("--out", "kept", "--data", "npy:test.npy", "--json");
  expect(result.code, result.stderr).toBe(0);
  expect(result.json()).toMatchObject({ usable: true, losses: [] });
});
