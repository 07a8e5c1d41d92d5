// frostbit quantize as a user runs it: every method, interrupted, killed and resumed.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadAddon } from "../../src/engines/native/addon.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { reportSchema } from "../../src/report/report.ts";
import { isNativeBuilt } from "../support/native.ts";
import { createRandom } from "../support/random.ts";
import { type CliResult, cliPath, runCli } from "../support/run-cli.ts";
import { tinyCifar10, tinyConvNet, tinyResidualNet } from "../support/tiny-models.ts";

let folder = "";
const run = (...args: string[]): Promise<CliResult> => runCli(args, folder);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-quantize-"));
  await mkdir(join(folder, "cifar"));
  await writeFile(join(folder, "cifar/train_1.bin"), tinyCifar10(400, 1));
  await writeFile(join(folder, "cifar/test_batch.bin"), tinyCifar10(200, 2));
  await writeFile(join(folder, "conv.onnx"), tinyConvNet());
  await writeFile(join(folder, "residual.onnx"), tinyResidualNet());
});
afterAll(() => rm(folder, { recursive: true }));

const data = [
  "--data",
  "cifar10:cifar",
  "--preprocess",
  "imagenet",
  "--batch",
  "32",
  "--calibration-samples",
  "64",
  "--threads",
  "1",
];

interface Summary {
  readonly model: string;
  readonly engine: string;
  readonly seconds: number;
  readonly peakMemoryMb: number;
  readonly sizeBytes: { readonly float: number; readonly quantized: number };
  readonly top1: Readonly<Record<"float" | "ptq" | "trained" | "quantized" | "deployed", number | null>>;
  readonly latencyMs: Readonly<
    Record<"float" | "deployed", { readonly batch1: number; readonly batch256: number | null }>
  >;
}

describe("quantize", () => {
  test.each([
    ["ptq", []],
    ["qat", ["--steps", "4"]],
    ["efqat", ["--mode", "cwpl", "--update-ratio", "0.3", "--steps", "4", "--refresh-every", "64"]],
    [
      "efqat",
      ["--mode", "cwpn", "--update-ratio", "0.05", "--steps", "4", "--optimizer", "adam", "--augment", "crop,flip"],
    ],
    [
      "efqat",
      ["--mode", "lwpn", "--update-ratio", "0.5", "--steps", "4", "--importance", "random", "--refresh-every", "32"],
    ],
    ["efqat", ["--update-ratio", "0", "--steps", "4", "--loss", "distill", "--schedule", "cosine"]],
    ["efqat", ["--steps", "2", "--placement", "runtime", "--weights", "8", "--activations", "8", "--observer", "mse"]],
    ["qat", ["--steps", "2", "--storage", "int8", "--observer", "percentile", "--layers", "*=8"]],
  ])("%s %j leaves a verified model, a report and what --json promises", async (method, more) => {
    const result = await run(
      "quantize",
      "residual.onnx",
      ...data,
      "--weights",
      "4",
      "--activations",
      "4",
      "--method",
      method,
      ...more,
      "--accuracies",
      "all",
      "--overwrite",
      "--out",
      "all",
      "--json",
    );
    expect(result.stderr + result.stdout).not.toContain("internal");
    expect(result.code, result.stderr).toBe(0);
    const summary = result.json() as Summary;
    expect(summary.engine).toBe(isNativeBuilt ? "native" : "onnxruntime");
    expect(summary.sizeBytes.quantized).toBeGreaterThan(0);
    expect(summary.top1.deployed).toBeCloseTo(summary.top1.quantized ?? Number.NaN, 0);
    const { trained, ...measured } = summary.top1;
    for (const value of Object.values(measured)) expect(value).toBeGreaterThanOrEqual(0);
    expect(trained === null).toBe(method === "ptq");
    expect(summary.latencyMs.deployed.batch256).toBeGreaterThan(0);
    const report = reportSchema.parse(JSON.parse(await readFile(join(folder, "all/report.json"), "utf8")));
    expect(report.verification?.argmaxAgreement).toBeGreaterThan(0.95);
    expect(await readFile(join(folder, "all/report.html"), "utf8")).toContain("<svg");
    const blocks = report.layers.map((layer) => layer.blocks.all);
    expect(blocks).toEqual(report.layers.map(({ weightShape: [rows] }) => (more.includes("lwpn") ? 1 : rows)));
    const exported = readOnnx(await readFile(join(folder, summary.model)), { name: "model.onnx" });
    expect(exported.graph.inputs).toEqual(readOnnx(tinyResidualNet(), { name: "residual.onnx" }).graph.inputs);
    const evaluated = await run(
      "evaluate",
      summary.model,
      "--data",
      "cifar10:cifar",
      "--preprocess",
      "imagenet",
      "--json",
    );
    expect(evaluated.json()).toMatchObject({ samples: 200, top1: summary.top1.deployed });
  });

  test("float training writes a float model", async () => {
    const result = await run(
      "quantize",
      "conv.onnx",
      ...data,
      "--method",
      "float",
      "--steps",
      "3",
      "--lr",
      "0.01",
      "--out",
      "float",
      "--json",
    );
    expect(result.code, result.stderr).toBe(0);
    const { graph } = readOnnx(await readFile(join(folder, "float/model.onnx")), { name: "model.onnx" });
    expect(graph.nodes.some(({ op }) => op === "QuantizeLinear")).toBe(false);
    expect((result.json() as Summary).top1.ptq).toBeNull();
  });

  test("--accuracies deployed measures the float model and the file alone", async () => {
    const options = ["--method", "ptq", "--out", "ends"];
    const result = await run("quantize", "conv.onnx", ...data, ...options, "--accuracies", "deployed");
    expect(result.code, result.stderr).toBe(0);
    expect(result.stdout).toMatch(/^ +float +ptq +quantized +deployed\n/);
    expect(result.stdout).toMatch(/top-1 +\d+\.\d+ % +– +– +\d+\.\d+ %/);
    expect(result.stdout).toMatch(/size +\d+(\.\d kB| B) +\d+(\.\d kB| B)\n/);
    const { top1 } = reportSchema.parse(JSON.parse(await readFile(join(folder, "ends/report.json"), "utf8")));
    const number = expect.any(Number);
    expect(top1).toEqual({ float: number, ptq: null, trained: null, quantized: null, deployed: number });
    expect(await readFile(join(folder, "ends/recipe.yaml"), "utf8")).toContain("accuracies: deployed");
  });

  test("where nothing trains, the float model and the file alone are measured", async () => {
    const result = await run("quantize", "conv.onnx", ...data, "--method", "ptq", "--out", "rounded", "--json");
    expect(result.code, result.stderr).toBe(0);
    const number = expect.any(Number);
    expect((result.json() as Summary).top1).toEqual({
      float: number,
      ptq: null,
      trained: null,
      quantized: null,
      deployed: number,
    });
  });

  test("flags without effect are said to have none", async () => {
    const idle = ["--mode", "cwpl", "--update-ratio", "0.5", "--resume"];
    const result = await run("quantize", "conv.onnx", ...data.slice(0, 4), "--method", "ptq", ...idle, "--out", "idle");
    expect(result.code, result.stderr).toBe(0);
    expect(result.stderr).toMatch(/^--mode, --update-ratio, --resume: no effect with --method ptq\.\n/);
  });

  test("a wrong layer pattern, bits, batch or folder is refused with what to do", async () => {
    const cases: [string[], RegExp][] = [
      [["--layers", "nothing=8"], /"nothing" matches no layer. The layers are /],
      [["--weights", "9"], /--weights is 9; expected a whole number from 2 to 8/],
      [["--batch", "1000"], /batch is 1000, but the training data has 400 samples/],
      [["--out", "conv.onnx"], /Cannot write "conv.onnx"/],
    ];
    for (const [more, message] of cases) {
      const result = await run("quantize", "conv.onnx", ...data.slice(0, 4), "--out", "new/refused", ...more);
      expect(result.stderr).toMatch(message);
      expect(result.code).toBe(1);
      expect(existsSync(join(folder, "new"))).toBe(false);
    }
    await mkdir(join(folder, "mine"));
    await run("quantize", "conv.onnx", ...data.slice(0, 4), "--out", "mine", "--batch", "1000");
    expect(await readdir(join(folder, "mine"))).toEqual([]);
  });
});

describe("recipes", () => {
  test("a chain of methods runs, and the recipe that it leaves gives the same bytes", async () => {
    const recipe = [
      "quantize: { weights: 4, activations: 4, calibrationSamples: 64, layers: { 'block.*': 4 } }",
      "methods:",
      "  - cross-layer-equalization",
      "  - bias-correction",
      "  - efqat: { updateRatio: 0.3, steps: 2, batch: 32 }",
      "  - qat: { steps: 3, batch: 16, qparamTraining: lsq+, lr: 1e-4, accumulate: 2, clipNorm: 1 }",
    ];
    await writeFile(join(folder, "chain.yaml"), recipe.join("\n"));
    const source = [
      "quantize",
      "residual.onnx",
      "--data",
      "cifar10:cifar",
      "--preprocess",
      "imagenet",
      "--threads",
      "1",
    ];
    const first = await run(...source, "--recipe", "chain.yaml", "--out", "chain");
    expect(first.code, first.stderr).toBe(0);
    const report = reportSchema.parse(JSON.parse(await readFile(join(folder, "chain/report.json"), "utf8")));
    expect(report.training).toMatchObject({ steps: 5, samples: 2 * 32 + 3 * 16 });
    expect(report.training.lossCurve.map(({ samples }) => samples)).toEqual([32, 64, 80, 96, 112]);
    expect(report.methods).toMatchObject([
      { method: "cross-layer-equalization" },
      { method: "ptq" },
      { method: "bias-correction" },
      { method: "efqat", options: { updateRatio: 0.3 } },
      { method: "qat", options: { batch: 16, accumulate: 2 } },
    ]);
    const page = await readFile(join(folder, "chain/report.html"), "utf8");
    expect(page).toContain("efqat, then qat on the");
    expect(page).toMatch(/Options of method 5, qat.*<td>batch<\/td><td class="text">16<\/td>/s);
    const again = await run(...source, "--recipe", "chain/recipe.yaml", "--out", "again");
    expect(again.code, again.stderr).toBe(0);
    expect(await readFile(join(folder, "again/model.onnx"))).toEqual(await readFile(join(folder, "chain/model.onnx")));
    const resumed = await run(...source, "--recipe", "chain.yaml", "--resume", "--out", "chain");
    expect(resumed.stderr).toContain("Resumed at step 3 of 3.");
    expect(await readFile(join(folder, "again/model.onnx"))).toEqual(await readFile(join(folder, "chain/model.onnx")));
  });

  test("a recipe beside flags, or one that is none, is refused", async () => {
    await writeFile(join(folder, "broken.yaml"), "methods: [qat");
    const source = ["quantize", "conv.onnx", ...data.slice(0, 4), "--recipe", "broken.yaml"];
    expect((await run(...source, "--weights", "4")).stderr).toContain("and so does --weights. Give one or the other.");
    const result = await run(...source);
    expect(result.stderr).toMatch(/broken\.yaml: .* at line 1/);
    expect(result.code).toBe(1);
  });
});

describe("what is known early is said early", () => {
  test("a label outside the classes is refused with the label and the classes", async () => {
    await writeFile(join(folder, "four.onnx"), tinyConvNet({ classes: 4 }));
    const result = await run("quantize", "four.onnx", ...data, "--method", "ptq", "--out", "labels");
    expect(result.stderr).toMatch(/Label [4-9] \(sample \d+ of "cifar10 \w+"\) is outside the model's classes 0 to 3/);
    expect(result.code).toBe(1);
  });

  test("--resume without a checkpoint says that it starts from the beginning", async () => {
    const result = await run(
      "quantize",
      "conv.onnx",
      ...data,
      "--method",
      "qat",
      "--steps",
      "1",
      "--resume",
      "--out",
      "anew",
    );
    expect(result.code, result.stderr).toBe(0);
    expect(result.stderr).toContain("There is no checkpoint to resume: training starts at step 0.");
  });

  test("a folder that cannot be written is refused before anything is computed", async () => {
    await mkdir(join(folder, "taken"));
    await writeFile(join(folder, "taken/file"), "");
    const result = await run("quantize", "conv.onnx", ...data, "--out", "taken/file");
    expect(result.stderr).toContain('Cannot write "taken/file"');
    expect(result.stderr).not.toContain("evaluate");
    expect(result.code).toBe(1);
  });
});

const training = [
  "quantize",
  "conv.onnx",
  ...data,
  "--weights",
  "4",
  "--activations",
  "4",
  "--method",
  "efqat",
  "--mode",
  "cwpn",
  "--update-ratio",
  "0.2",
];
const long = [
  ...training,
  "--steps",
  "60",
  "--checkpoint-every",
  "5",
  "--augment",
  "crop,flip",
  "--refresh-every",
  "320",
];

/** Starts the command, and sends a signal once the checkpoint says that `step` has been passed. */
async function stopAfter(
  step: number,
  signal: NodeJS.Signals,
  out: string,
  ...more: string[]
): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(process.execPath, [cliPath, ...long, "--out", out, ...more], { cwd: folder });
  let stderr = "";
  child.stderr.on("data", (part) => {
    stderr += String(part);
  });
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  while (isRunning() && (await stepOf(out)) < step) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill(signal);
  return { code: await ended, stderr };
}

async function stepOf(out: string): Promise<number> {
  try {
    return (JSON.parse(await readFile(join(folder, out, "checkpoint/state.json"), "utf8")) as { step: number }).step;
  } catch {
    return 0;
  }
}

describe("stopping", () => {
  test("killed three times and resumed, a run leaves the bytes of an uninterrupted one", async () => {
    const whole = await run(...long, "--out", "whole", "--json");
    expect(whole.code, whole.stderr).toBe(0);
    const random = createRandom(Date.now() % 1000);
    for (const step of [5, 20, 40]) {
      const before = await stepOf("killed");
      await stopAfter(step, "SIGKILL", "killed", ...(before > 0 ? ["--resume"] : []));
      expect(await stepOf("killed")).toBeGreaterThanOrEqual(Math.max(before, 5));
      expect((await readdir(join(folder, "killed"))).includes("model.onnx")).toBe(false);
      await new Promise((resolve) => setTimeout(resolve, random.integer(0, 5)));
    }
    const resumed = await run(...long, "--out", "killed", "--resume", "--json");
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(await readFile(join(folder, "killed/model.onnx"))).toEqual(await readFile(join(folder, "whole/model.onnx")));
  });

  test("Ctrl-C stops after the step, says how to go on, and loses nothing", async () => {
    const { code, stderr } = await stopAfter(10, "SIGINT", "stopped");
    expect(stderr).toMatch(/Stopped after step \d+ of 60\. Go on with --resume\./);
    expect(code).not.toBe(0);
    const resumed = await run(...long, "--out", "stopped", "--resume", "--json");
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(await readFile(join(folder, "stopped/model.onnx"))).toEqual(
      await readFile(join(folder, "whole/model.onnx")),
    );
  });

  const hasMixed = isNativeBuilt && loadAddon().information().bfloat16;
  test.each(hasMixed ? ["float32", "mixed"] : ["float32"])(
    "a loss that diverges in %s ends with what to do, exit code 1 and no model",
    async (precision) => {
      const out = `diverged-${precision}`;
      const engine = precision === "mixed" ? ["--engine", "native", "--precision", "mixed"] : [];
      const rates = ["--lr", "1e37", "--steps", "20"];
      const result = await run("quantize", "conv.onnx", ...data, ...engine, "--method", "qat", ...rates, "--out", out);
      expect(result.stderr).toMatch(
        /(Loss|"[^"]+") became (NaN|-?Infinity) (at|by) step \d+ of 20 \(learning rate 1e\+37\)\..* Start again with a lower --lr/,
      );
      expect(result.code).toBe(1);
      expect(existsSync(join(folder, out, "model.onnx"))).toBe(false);
    },
  );

  test("a checkpoint of other options is refused", async () => {
    const result = await run(...long, "--lr", "0.5", "--out", "whole", "--resume");
    expect(result.stderr).toContain("The checkpoint was made with another model, other data or other options.");
    expect(result.code).toBe(1);
  });
});
