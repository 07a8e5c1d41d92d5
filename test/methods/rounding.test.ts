// Rounding by second moments as a user runs it, on the network that comes with the project: what is written is verified deployed.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { reportSchema } from "../../src/report/report.ts";
import { type CliResult, runCli } from "../support/run-cli.ts";

const shapes = join(import.meta.dirname, "../../examples/shapes");
let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "frostbit-rounding-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const given = [
  ...["quantize", join(shapes, "shapes.onnx"), "--data", `module:${join(shapes, "shapes.js")}`],
  ...["--preprocess", "unit", "--threads", "1"],
];
const small = ["--weights", "4", "--activations", "8", "--limit", "128", "--calibration-samples", "32"];
const sooner = ["--accuracies", "deployed", "--iterations", "20", "--positions", "8", "--rounding-samples", "128"];

const run = (...args: string[]): Promise<CliResult> => runCli([...given, ...args], folder);
const modelOf = (out: string): Buffer => readFileSync(join(folder, out, "model.onnx"));
const reportOf = (out: string) =>
  reportSchema.parse(JSON.parse(readFileSync(join(folder, out, "report.json"), "utf8")));

/** Runs to a verified file; gives its report. */
async function verified(out: string, ...args: string[]) {
  const { code, stderr } = await run(...small, ...sooner, ...args, "--out", out);
  expect(code, stderr).toBe(0);
  const report = reportOf(out);
  expect(report.verification?.argmaxAgreement).toBeGreaterThan(0.95);
  return report;
}

describe("weights are rounded by", () => {
  test("nothing but calibration", async () => {
    await verified("ptq", "--method", "ptq");
  }, 120_000);

  test.each(["gptq", "adaround", "brecq", "qdrop", "output-error-ranges"])(
    "%s, and the file is another",
    async (method) => {
      const { stages, methods, training } = await verified(method, "--method", method);
      expect(stages).toEqual(["float", "ptq", "quantized", "deployed"]);
      expect(methods.map((step) => step.method)).toEqual(["ptq", method]);
      expect(training.steps).toBe(0);
      expect(modelOf(method)).not.toEqual(modelOf("ptq"));
    },
    120_000,
  );

  test.each([
    ["layers of other bits, calibrated ranges", "--method gptq --layers stem=float,linear=8 --ranges calibrated"],
    ["weights in groups", "--method gptq --group-size 16"],
    ["groups with zero points", "--method output-error-ranges --group-size 16 --asymmetric-weights"],
    ["zero points, blocks that train by minibatches", "--method adaround --asymmetric-weights --unit block"],
    [
      "the network as one unit, first and last layers of other bits",
      "--method qdrop --unit network --ranges output-error --weights 2 --first-last 8",
    ],
    ["quantized values everywhere", "--method qdrop --placement runtime --symmetric-activations"],
    ["powers of two behind units", "--prepare qdrop --method qat --qparam-training tqt"],
    ["scales that are powers of two, trained", "--prepare gptq --method qat --qparam-training tqt"],
  ])(
    "methods that meet %s",
    async (_, args) => {
      await verified("other", ...args.split(" "), "--steps", "1", "--batch", "16", "--overwrite");
    },
    120_000,
  );
});

describe("with other methods", () => {
  const chained = `
quantize: { weights: 4, activations: 8, calibrationSamples: 32 }
methods:
  - cross-layer-equalization
  - adaround: { iterations: 20, positions: 8, roundingSamples: 128 }
  - bias-correction
  - efqat: { steps: 4, batch: 16, updateRatio: 0.5 }
limit: 128
accuracies: deployed
`;

  test("it comes after equalization, before biases and training; resumed or run again, it gives the same bytes", async () => {
    writeFileSync(join(folder, "recipe.yaml"), chained);
    const whole = await run("--recipe", "recipe.yaml", "--out", "whole");
    expect(whole.code, whole.stderr).toBe(0);
    const { methods } = reportOf("whole");
    expect(methods.map(({ method }) => method)).toEqual([
      "cross-layer-equalization",
      "ptq",
      "adaround",
      "bias-correction",
      "efqat",
    ]);
    const bytes = modelOf("whole");
    for (const more of [
      ["--out", "whole", "--resume"],
      ["--out", "again"],
    ]) {
      const again = await run("--recipe", "recipe.yaml", ...more);
      expect(again.code, again.stderr).toBe(0);
      expect(modelOf(more[1])).toEqual(bytes);
    }
  }, 300_000);
});

describe("units that train", () => {
  const chained = `
quantize: { weights: 4, activations: 4, calibrationSamples: 32 }
methods:
  - qdrop: { iterations: 12, roundingSamples: 64 }
  - efqat: { steps: 2, batch: 16 }
limit: 128
accuracies: deployed
`;

  test("and what trains after them have files of their own: resumed, they give the same bytes", async () => {
    writeFileSync(join(folder, "units.yaml"), chained);
    const whole = await run("--recipe", "units.yaml", "--out", "units");
    expect(whole.code, whole.stderr).toBe(0);
    const bytes = modelOf("units");
    expect(
      readdirSync(join(folder, "units/checkpoint")).filter((name) => name.startsWith("unit-")).length,
    ).toBeGreaterThan(2);
    const again = await run("--recipe", "units.yaml", "--out", "units", "--resume");
    expect(again.code, again.stderr).toBe(0);
    expect(again.stderr).toMatch(/Resumed after \d+ units\./);
    expect(modelOf("units")).toEqual(bytes);
  }, 300_000);

  test("with images that are changed: another file, the same one again", async () => {
    const flags = [
      "--method",
      "qdrop",
      "--augment",
      "crop,flip",
      "--augmented-copies",
      "2",
      "--rounding-samples",
      "32",
    ];
    const bytes: Buffer[] = [];
    for (const more of [[], ["--resume"], ["--augment", "flip", "--overwrite"]]) {
      await verified("changed", ...flags, ...more);
      bytes.push(modelOf("changed"));
    }
    expect(bytes[1]).toEqual(bytes[0]);
    expect(bytes[2]).not.toEqual(bytes[0]);
  }, 300_000);
});

describe("is refused", () => {
  test("before anything is computed", async () => {
    const few = await run("--method", "gptq", "--limit", "6", "--out", "few");
    expect(few.code).toBe(1);
    expect(few.stderr).toMatch(
      /error: "shapes train" has 6 training samples; gptq needs at least 8, of which it holds one out\.\n$/,
    );
    expect(few.stderr).not.toContain("evaluate");
    expect(existsSync(join(folder, "few/model.onnx"))).toBe(false);
    const twice = await run("--method", "gptq,adaround", "--out", "twice");
    expect(twice.stderr).toContain("--method adaround: gptq rounds the weights already.");
  }, 60_000);
});
