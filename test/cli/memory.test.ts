// frostbit quantize and evaluate within a budget of memory, as a user runs them.
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type CliResult, runCli } from "../support/run-cli.ts";
import { tinyCifar10, tinyConvNet } from "../support/tiny-models.ts";

let folder = "";
const run = (...args: string[]): Promise<CliResult> => runCli(args, folder);
const data = ["--data", "cifar10:cifar", "--preprocess", "imagenet"];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-memory-"));
  await mkdir(join(folder, "cifar"));
  await writeFile(join(folder, "cifar/train_1.bin"), tinyCifar10(20, 1));
  await writeFile(join(folder, "cifar/test_batch.bin"), tinyCifar10(20, 2));
  await writeFile(join(folder, "conv.onnx"), tinyConvNet());
});
afterAll(() => rm(folder, { recursive: true }));

test("a run beyond its budget is refused before anything is computed, and leaves nothing", async () => {
  const { code, stdout, stderr } = await run("quantize", "conv.onnx", ...data, "--batch", "20", "--max-memory", "30");
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /error: This run is estimated to take [\d,]+ MB of memory, in its (training|evaluation), and --max-memory is 30 MB/,
  );
  expect(stdout + stderr).not.toMatch(/evaluate|calibrate/);
  expect(existsSync(join(folder, "out"))).toBe(false);
});

test("an evaluation has batches that keep to its budget, or is refused", async () => {
  const { code, stdout } = await run("evaluate", "conv.onnx", ...data, "--max-memory", "2000", "--json");
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ samples: 20 });
  const refused = await run("evaluate", "conv.onnx", ...data, "--max-memory", "20");
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/error: Evaluating one sample at a time is estimated to take [\d,]+ MB of memory/);
});
