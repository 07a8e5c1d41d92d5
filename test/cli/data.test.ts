// Commands on folders of pictures, models of several outputs, channels last, with and without labels.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readOnnx } from "../../src/onnx/read.ts";
import { type Report, reportSchema } from "../../src/report/report.ts";
import { drawPictures } from "../support/draw-pictures.ts";
import { type CliResult, runCli } from "../support/run-cli.ts";
import { twoHeadedFile } from "../support/two-headed.ts";

let folder = "";
const run = (...args: string[]): Promise<CliResult> => runCli(args, folder);

const tints = { blue: [40, 40, 220], green: [40, 220, 40], red: [220, 40, 40] };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-pictures-"));
  await writeFile(join(folder, "any.onnx"), twoHeadedFile());
  await writeFile(join(folder, "four.onnx"), twoHeadedFile(4));
  for (const [i, [name, tint]] of Object.entries(tints).entries()) {
    const size = { height: 20, width: 16 + i, tint };
    await drawPictures(join(folder, "set/train", name), { count: 12, seed: i, ...size });
    await drawPictures(join(folder, "set/test", name), { count: 6, seed: 10 + i, ...size });
  }
  await drawPictures(join(folder, "loose"), { count: 20, seed: 31, height: 16, width: 24 });
});
afterAll(() => rm(folder, { recursive: true }));

const common = ["--preprocess", "unit", "--layout", "nhwc", "--threads", "1"];
const training = ["--batch", "8", "--steps", "3", "--calibration-samples", "16", "--method", "efqat"];
const quantize = (...more: string[]): Promise<CliResult> =>
  run("quantize", "any.onnx", ...common, ...training, ...more);
const reportIn = async (out: string): Promise<Report> =>
  reportSchema.parse(JSON.parse(await readFile(join(folder, out, "report.json"), "utf8")));

describe("quantize", () => {
  test("--outputs names the output whose scores are trained and measured; the file keeps all", async () => {
    const result = await quantize("--data", "images:set", "--outputs", "probabilities", "--out", "scores");
    expect(result.code, result.stderr).toBe(0);
    const { top1, fidelity, data, verification } = await reportIn("scores");
    expect([data.trainSamples, data.testSamples, data.heldOut]).toEqual([36, 18, false]);
    expect(top1.deployed).toBe(top1.quantized);
    expect(fidelity).toBeNull();
    expect(verification?.outputs.map(({ name }) => name)).toEqual(["mask", "probabilities"]);
    const { graph } = readOnnx(await readFile(join(folder, "scores/model.onnx")), { name: "model.onnx" });
    expect(graph.outputs).toEqual(["mask", "probabilities"]);
  });

  test("--loss mse follows the float model; the table shows every output's SQNR", async () => {
    const result = await quantize("--data", "images:loose", "--loss", "mse", "--out", "follow");
    expect(result.code, result.stderr).toBe(0);
    expect(result.stdout).toMatch(/^SQNR mask +\d+\.\d dB +\d+\.\d dB +\d+\.\d dB +\d+\.\d dB$/m);
    expect(result.stdout).toMatch(/^same probabilities +\d+\.\d\d % /m);
    const { top1, fidelity, data, training: trained } = await reportIn("follow");
    expect(top1).toEqual({ float: null, ptq: null, trained: null, quantized: null, deployed: null });
    expect([data.trainSamples, data.testSamples, data.heldOut]).toEqual([18, 2, true]);
    expect(Object.keys(fidelity ?? {})).toEqual(["ptq", "trained", "quantized", "deployed"]);
    for (const { sqnrDb } of fidelity?.["deployed"] ?? []) expect(sqnrDb).toBeGreaterThan(25);
    expect(trained.lossCurve.every(({ loss }) => loss < 1e-3)).toBe(true);
    expect(await readFile(join(folder, "follow/report.html"), "utf8")).toContain("Against the float model");
  });

  test("distillation needs no labels, and shows how often the class stays", async () => {
    const outputs = ["--outputs", "probabilities"];
    const result = await quantize("--data", "images:loose", "--loss", "distill", ...outputs, "--out", "distilled");
    expect(result.code, result.stderr).toBe(0);
    const { fidelity, verification } = await reportIn("distilled");
    expect(fidelity?.["deployed"]?.map(({ name, agreement }) => [name, agreement])).toEqual([["probabilities", 1]]);
    expect(verification?.argmaxAgreement).toBeGreaterThan(0.95);
  });

  test("labels that belong to no output are not used, and that is said", async () => {
    const result = await quantize("--data", "images:set", "--method", "ptq", "--out", "unused");
    expect(result.code, result.stderr).toBe(0);
    expect(result.stderr).toMatch(
      /The labels of "images set\/test .*" are not used: .*output "mask" float32 \[N, 2, 12, 12\]\. .*They fit output "probabilities"/,
    );
  });
});

describe("evaluate", () => {
  test("a file of a fixed batch, channels last, gives what the file of any batch gives", async () => {
    const more = ["--data", "images:set", ...common, "--output", "probabilities", "--json"];
    const [any, four] = [await run("evaluate", "any.onnx", ...more), await run("evaluate", "four.onnx", ...more)];
    expect(any.code, any.stderr).toBe(0);
    expect(any.json()).toMatchObject({ samples: 18, classes: 3 });
    // The loss is a sum by batches, of which one has four and the other eighteen samples.
    const expected = any.json() as { readonly loss: number };
    expect(four.json()).toEqual({ ...expected, loss: expect.closeTo(expected.loss, 12) });
  });

  test("compare runs on pictures too", async () => {
    const result = await run("compare", "any.onnx", "any.onnx", "--data", "images:loose", ...common, "--json");
    expect(result.json()).toMatchObject({ samples: 20, firstDiverged: null });
  });
});

describe("what is wrong is said with what to do", () => {
  test.each([
    ["a layout", ["--data", "images:set", "--layout", "nchw"], "Try --layout nhwc."],
    ["a path", ["--data", "images:nowhere"], 'Cannot read "nowhere": no such file or folder.'],
    [
      "a size",
      ["--data", "images:set", "--crop", "8"],
      "[batch, 8, 8, 3]. The images are of another size: --resize and --crop, for images:DIR, decide",
    ],
    [
      "a size that is none",
      ["--data", "images:set", "--crop", "big"],
      "--crop is big; expected pixels: 224, or HEIGHTxWIDTH",
    ],
    [
      "an output",
      ["--data", "images:set", "--outputs", "logits"],
      'outputs names "logits"; the model\'s outputs are "mask", "probabilities".',
    ],
    [
      "no labels",
      ["--data", "images:loose", "--outputs", "probabilities"],
      "has no labels, so cross-entropy cannot be its loss. Follow the float model with --loss distill, or with --loss mse",
    ],
    [
      "no scores",
      ["--data", "images:set"],
      'they are whole numbers [samples], output "mask" float32 [N, 2, 12, 12]. Fit are class indices of one axis less',
    ],
  ])("%s", async (_, more, message) => {
    const result = await quantize(...more, "--out", "never");
    expect(result.stderr).toContain(message);
    expect(result.code).toBe(1);
  });

  test("an image that cannot be decoded ends the run with its name", async () => {
    await drawPictures(join(folder, "spoiled"), { count: 20, seed: 3, height: 16, width: 16 });
    await writeFile(join(folder, "spoiled/7.jpg"), "no picture");
    const result = await quantize("--data", "images:spoiled", "--loss", "mse", "--out", "never");
    expect(result.stderr).toContain('Cannot decode the image "spoiled/7.jpg": ');
    expect(result.code).toBe(1);
  });
});
