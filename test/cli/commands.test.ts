// The commands as a user types them, on tiny models.
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readNpy, writeNpy } from "../../src/data/npy.ts";
import { tensorOf } from "../../src/ir/tensor.ts";
import { methodNames } from "../../src/methods/index.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { expectClose } from "../support/close.ts";
import { isNativeBuilt } from "../support/native.ts";
import { createRandom } from "../support/random.ts";
import { type CliResult, cliPath, runCli } from "../support/run-cli.ts";
import { tinyCifar10, tinyConvNet, tinyMlp, tinyResidualNet } from "../support/tiny-models.ts";

let folder = "";
const run = (...args: string[]): Promise<CliResult> => runCli(args, folder);
const put = (name: string, bytes: Uint8Array): Promise<void> => writeFile(join(folder, name), bytes);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-cli-"));
  await mkdir(join(folder, "cifar"));
  await put("cifar/test_batch.bin", tinyCifar10(300));
  await put("conv.onnx", tinyConvNet());
  await put("other.onnx", tinyConvNet({ seed: 9 }));
  await put("fixed.onnx", tinyConvNet({ batch: 7 }));
  await put("residual.onnx", tinyResidualNet());
  await put("mlp.onnx", tinyMlp());
  const random = createRandom(5);
  await put("x.npy", writeNpy(random.tensor("float32", [5, 6])));
  await put("many.npy", writeNpy(random.tensor("float32", [300, 6])));
  const far = Array.from({ length: 300 }, (_, i) => (i === 260 ? 7 : i % 4));
  await put("far.npy", writeNpy(tensorOf("int64", [300], far)));
  await put("y.npy", writeNpy(tensorOf("int64", [5], [0, 1, 2, 3, 0])));
});
afterAll(() => rm(folder, { recursive: true }));

const cifar = ["--data", "cifar10:cifar", "--preprocess", "unit"];

describe("evaluate", () => {
  test("gives samples, top-1 and loss as one JSON object on the last line", async () => {
    const result = await run("evaluate", "conv.onnx", ...cifar, "--json");
    expect(result.stderr).toContain("evaluate");
    expect(result.code).toBe(0);
    expect(result.json()).toEqual({
      labels: "classes",
      samples: 300,
      classes: 10,
      differentLabels: 10,
      top1: expect.any(Number),
      loss: expect.any(Number),
      meanIou: null,
      rmse: null,
      mae: null,
    });
  });

  test("a file of a fixed batch gives what the file of any batch gives", async () => {
    const free = (await run("evaluate", "conv.onnx", ...cifar, "--json")).json() as Record<string, number>;
    const fixed = (await run("evaluate", "fixed.onnx", ...cifar, "--json")).json() as Record<string, number>;
    expect(fixed["samples"]).toBe(300);
    expect(fixed["top1"]).toBe(free["top1"]);
    expect(fixed["loss"]).toBeCloseTo(free["loss"], 5);
  });

  test("npy data is evaluated as a whole, or as much as --limit says", async () => {
    const data = ["--data", "npy:x.npy,y.npy"];
    expect((await run("evaluate", "mlp.onnx", ...data, "--json")).json()).toMatchObject({ samples: 5 });
    expect((await run("evaluate", "mlp.onnx", ...data, "--limit", "3", "--json")).json()).toMatchObject({ samples: 3 });
  });

  test("data of another shape or layout is refused with both shapes", async () => {
    const result = await run("evaluate", "conv.onnx", ...cifar, "--layout", "nhwc");
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(
      /Input "x" of the model is float32 \[.*3, 32, 32\]; "cifar10 test" gives float32 \[batch, 32, 32, 3\]\. Try --layout nchw\./,
    );
    const other = await run("evaluate", "mlp.onnx", ...cifar);
    expect(other.stderr).toMatch(
      /gives float32 \[batch, 3, 32, 32\]\. Check that the model and the data belong together\.\n/,
    );
  });

  test("accuracy near chance gets a note on standard error", async () => {
    const result = await run("evaluate", "conv.onnx", ...cifar, "--crop", "32");
    expect(result.stderr).toContain("--crop: no effect with --data cifar10:cifar, only with images:DIR.\n");
    expect(result.stderr).toMatch(/note: Top-1 of [\d.]+ % is near chance .* --preprocess, --mean/);
    expect((await run("evaluate", "conv.onnx", ...cifar, "--limit", "50")).stderr).not.toContain("near chance");
  });

  test("labels that are all the same get a note instead", async () => {
    await put("same.npy", writeNpy(tensorOf("int64", [5], [3, 3, 3, 3, 3])));
    const { code, stderr } = await run("evaluate", "mlp.onnx", "--data", "npy:x.npy,same.npy");
    expect([code, stderr]).toEqual([0, expect.stringMatching(/note: All 5 test samples have the same label, /)]);
  });

  test("a label outside the model's classes is refused with its place in the data set", async () => {
    const result = await run("evaluate", "mlp.onnx", "--data", "npy:many.npy,far.npy");
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/Label 7 \(sample 260 of "npy many\.npy"\) is outside the model's classes 0 to 3/);
  });

  test("data without labels is refused, and a module told what it must say", async () => {
    const result = await run("evaluate", "mlp.onnx", "--data", "npy:x.npy");
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/"npy x.npy" has no labels, so there is nothing to measure .* hasLabels: true\.\n$/);
  });
});

describe("Ctrl-C", () => {
  test("stops after the batch in hand, says how far it came, and exits with 130", async () => {
    await writeFile(
      join(folder, "slow.mjs"),
      `export const train = {
  length: 25600,
  inputs: { x: { dtype: "float32", shape: [6] } },
  hasLabels: true,
  read: async ({ length }) => {
    await new Promise((resolve) => setTimeout(resolve, 200));
    return {
      inputs: { x: { dtype: "float32", shape: [length, 6], data: new Float32Array(length * 6) } },
      labels: { dtype: "int64", shape: [length], data: new BigInt64Array(length) },
    };
  },
};
`,
    );
    const compare = ["compare", "mlp.onnx", "mlp.onnx", "--limit", "25600"];
    for (const command of [["evaluate", "mlp.onnx"], compare]) {
      const result = await runCli([...command, "--data", "module:slow.mjs"], folder, { signal: "SIGINT" });
      expect(result.code).toBe(130);
      expect(result.stderr).toMatch(/Stopping after this step\. .*\nStopped after \d+ of 25600 samples\./s);
    }
  });
});

describe("inspect", () => {
  test("lists layers with sizes, operations and importance", async () => {
    const report = (await run("inspect", "conv.onnx", "--json")).json() as {
      layers: { name: string; parameters: number; multiplyAdds: number; importance: number[]; canTrain: boolean }[];
    };
    expect(
      report.layers.map(({ name, parameters, multiplyAdds, canTrain }) => ({
        name,
        parameters,
        multiplyAdds,
        canTrain,
      })),
    ).toEqual([
      { name: "conv1", parameters: 216, multiplyAdds: 216 * 256, canTrain: true },
      { name: "conv2", parameters: 1152, multiplyAdds: 1152 * 64, canTrain: true },
      { name: "fc", parameters: 160, multiplyAdds: 160, canTrain: true },
    ]);
    expect(report.layers.map(({ importance }) => importance.length)).toEqual([8, 16, 10]);
    const { stdout } = await run("inspect", "residual.onnx");
    expect(stdout).toContain("block.conv1");
    expect(stdout).toContain("BatchNormalization");
  });

  test("names the units that learned rounding trains one after the other", async () => {
    const units = await run("inspect", "residual.onnx", "--units", "block", "--json");
    expect((units.json() as { units: { name: string; layers: string[] }[] }).units).toMatchObject([
      { name: "stem", layers: ["stem"] },
      { name: "block", layers: ["block.conv1", "block.conv2"] },
      { name: "fc", layers: ["fc"] },
    ]);
    const { stdout } = await run("inspect", "residual.onnx", "--units", "layer");
    expect(stdout).toMatch(/unit +layers +reads +is compared at\n.*\n.*stem/);
    expect((await run("inspect", "residual.onnx", "--json")).json()).not.toHaveProperty("units");
  });

  test("a layer may have as many channels as a large vocabulary has words", async () => {
    const build = buildOn();
    const words = 200_000;
    const weight = tensorOf("float32", [1, words], new Float32Array(words).fill(0.5));
    const x = build.input("x", { dtype: "float32", shape: ["N", 1] });
    const graph = build.graph([build.node("MatMul", [x, build.constant(weight, "words.weight")])], "words");
    const { origin } = readOnnx(tinyMlp(), { name: "mlp" });
    await put("words.onnx", writeOnnx({ graph, origin }, { opset: 13 }));
    const result = await run("inspect", "words.onnx");
    expect([result.code, result.stderr]).toEqual([0, ""]);
    expect(result.stdout).toMatch(/words +MatMul .* 0\.500 +0\.500 +0\.500 \(0\)/);
  });

  test.skipIf(isNativeBuilt)("--plan says how to get the native engine", async () => {
    const result = await run("inspect", "residual.onnx", "--plan");
    expect([result.code, result.stderr]).toEqual([1, expect.stringMatching(/not installed: .* Install it: /)]);
  });

  test.skipIf(!isNativeBuilt)("--plan shows steps, what implements them, and what stays in floats", async () => {
    const plan = (await run("inspect", "residual.onnx", "--plan", "--batch", "4", "--json")).json() as {
      steps: { kernel: string; node?: string; implementation: string; operations: number; parts: unknown[] }[];
      integerProducts: string[];
      floatProducts: { op: string; reason: string }[];
      totals: { operations: number };
      variableBytes: number;
    };
    const named = plan.steps.filter(({ kernel }) => kernel.startsWith("convolution"));
    expect(named.length).toBeGreaterThanOrEqual(plan.integerProducts.length);
    expect(named.every(({ implementation }) => implementation !== "")).toBe(true);
    expect(plan.steps.some(({ kernel, parts }) => kernel === "fused" && parts.length > 1)).toBe(true);
    expect(plan.totals.operations).toBe(plan.steps.reduce((sum, { operations }) => sum + operations, 0));
    expect(plan.variableBytes).toBeGreaterThan(0);
    const forward = await run("inspect", "residual.onnx", "--plan", "--forward", "--batch", "4", "--method", "float");
    expect(forward.stdout).toMatch(/in floats: its input has no quantizer/);
    expect(forward.stdout).toMatch(/ variables 0 B\n/);
  });

  test.skipIf(!isNativeBuilt)("--plan shows the times of kernels that were measured", async () => {
    const planned = async (tune: string) => {
      const args = ["inspect", "residual.onnx", "--plan", "--batch", "4", "--tune", tune];
      const { stdout } = await run(...args);
      const { steps } = (await run(...args, "--json")).json() as {
        steps: { candidates: { kernel: string; ms: number }[] }[];
      };
      return { stdout, candidates: steps.flatMap(({ candidates }) => candidates) };
    };
    expect((await planned("off")).candidates).toEqual([]);
    const { stdout, candidates } = await planned("fast");
    for (const { kernel, ms } of candidates) {
      expect(ms).toBeGreaterThan(0);
      expect(stdout).toMatch(new RegExp(`measured: ${kernel} +${ms.toFixed(3)} ms`));
    }
    expect((await run("inspect", "residual.onnx", "--tune", "fast")).stderr).toContain("--tune belongs to --plan");
  });

  test.skipIf(!isNativeBuilt)("--plan of a model whose inputs leave sizes open takes them by their names", async () => {
    const decoder = join(import.meta.dirname, "../oracles/decoders/llama");
    const float = ["--method", "float", "--forward", "--batch", "2"];
    const logitBytes = async (length: number): Promise<number> => {
      const { steps } = (
        await run("inspect", decoder, "--plan", ...float, "--sizes", `length=${length}`, "--json")
      ).json() as { steps: { bytesWritten: number }[] };
      return steps[steps.length - 1].bytesWritten;
    };
    expect((await logitBytes(10)) / (await logitBytes(5))).toBe(2);
    const { code, stderr } = await run("inspect", decoder, "--plan", ...float, "--sizes", "lenght=5");
    expect([code, stderr]).toEqual([1, expect.stringContaining('sizes names "lenght"')]);
  });

  test("options of --plan are refused without it", async () => {
    const result = await run("inspect", "residual.onnx", "--batch", "4");
    expect([result.code, result.stderr]).toEqual([1, expect.stringContaining("--batch belongs to --plan")]);
  });

  test("--html writes a page with a histogram of each layer's weights", async () => {
    const result = await run("inspect", "conv.onnx", "--html", "conv.html", "--json");
    expect(result.json()).toMatchObject({ model: "conv.onnx", html: "conv.html" });
    const page = await readFile(join(folder, "conv.html"), "utf8");
    const labels = [...page.matchAll(/aria-label="Histogram of the weights of ([^"]*)"/g)].map((match) => match[1]);
    expect(labels).toEqual(["conv1", "conv2", "fc"]);
    expect(page).not.toMatch(/<script|<link|<img|@import|url\((?!#)/);
  });
});

describe("run", () => {
  test("both engines give the same outputs as .npy files", async () => {
    for (const engine of ["reference", "onnxruntime"]) {
      const result = await run("run", "mlp.onnx", "--input", "x=x.npy", "--engine", engine, "--out", engine, "--json");
      expect(result.stderr).toBe("");
      expect(result.json()).toEqual({
        engine,
        outputs: [{ name: "logits", file: join(engine, "logits.npy"), dtype: "float32", shape: [5, 4] }],
      });
    }
    const [a, b] = await Promise.all(
      ["reference", "onnxruntime"].map(async (engine) =>
        readNpy(await readFile(join(folder, engine, "logits.npy")), engine),
      ),
    );
    expectClose(a, b);
  });

  test("values inside the model can be asked for", async () => {
    const result = await run(
      "run",
      "mlp.onnx",
      "--input",
      "x=x.npy",
      "--engine",
      "reference",
      "--values",
      "relu1",
      "--json",
    );
    expect(result.json()).toMatchObject({ outputs: [{ name: "relu1", shape: [5, 16] }] });
  });

  test("what ONNX Runtime refuses while running is said once", async () => {
    const build = buildOn();
    const table = build.constant(tensorOf("float32", [4, 1], [1, 2, 3, 4]), "table");
    const y = build.node("Gather", [table, build.input("i", { dtype: "int64", shape: ["n"] })], { axis: 0 }, "rows");
    const { origin } = readOnnx(tinyMlp(), { name: "mlp.onnx" });
    await put("gather.onnx", writeOnnx({ graph: build.graph([y]), origin }, { opset: 17 }));
    const result = await run("run", "gather.onnx", "--input", "i=far.npy", "--engine", "onnxruntime");
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/^error: ONNX Runtime failed while running: [^\n]*rows[^\n]*\n$/);
  });

  test("missing and unknown inputs are named", async () => {
    expect((await run("run", "mlp.onnx")).stderr).toMatch(
      /^error: --input is missing for the model's "x" \(float32 \[.*, 6\]\)\. Give --input x=file\.npy\.$/m,
    );
    expect((await run("run", "mlp.onnx", "--input", "z=x.npy")).stderr).toContain(
      "--input z: the model has no such input; it has x.",
    );
  });
});

describe("compare", () => {
  test("a model agrees with itself in every value", async () => {
    const result = (await run("compare", "conv.onnx", "conv.onnx", ...cifar, "--json")).json() as {
      values: { name: string; sqnrDb: null }[];
    };
    expect(result).toMatchObject({ samples: 32, firstDiverged: null, incomparable: [] });
    expect(result.values.map(({ name }) => name)).toContain("conv2_bn");
    expect(result.values.every(({ sqnrDb }) => sqnrDb === null)).toBe(true);
  });

  test("another model's first value diverges first", async () => {
    const result = await run("compare", "conv.onnx", "other.onnx", ...cifar, "--limit", "4");
    expect(result.stdout).toContain(
      "The first value that diverges (SQNR below the threshold, 20 dB, on 4 samples): conv1",
    );
  });
});

describe("models that have nothing in common", () => {
  test("are refused by compare, with what differs and what to do", async () => {
    await put("four.onnx", tinyConvNet({ classes: 4 }));
    const classes = await run("compare", "conv.onnx", "four.onnx", ...cifar, "--limit", "4");
    expect([classes.code, classes.stderr]).toEqual([
      1,
      expect.stringMatching(
        /Output "logits" is float32 \[\d+, 10\] in the first model and float32 \[\d+, 4\] in the second\. /,
      ),
    ]);
    const build = buildOn();
    const y = build.node("Neg", [build.input("x", { dtype: "float32", shape: ["N", 3, 32, 32] })], {}, "negative");
    const { origin } = readOnnx(tinyMlp(), { name: "mlp.onnx" });
    await put("negative.onnx", writeOnnx({ graph: build.graph([y]), origin }, { opset: 17 }));
    const none = await run("compare", "conv.onnx", "negative.onnx", ...cifar);
    expect([none.code, none.stderr]).toEqual([
      1,
      expect.stringMatching(/The two models have no value of the same name\. .*`frostbit evaluate`/),
    ]);
    const inputs = await run("compare", "conv.onnx", "mlp.onnx", ...cifar);
    expect([inputs.code, inputs.stderr]).toEqual([
      1,
      expect.stringMatching(/^error: The second model: Input "x" of the model is /),
    ]);
  });
});

describe("compare's threshold", () => {
  test("is 20 dB, or what --threshold says", async () => {
    const command = ["compare", "conv.onnx", "other.onnx", ...cifar, "--limit", "4"];
    expect((await run(...command, "--json")).json()).toMatchObject({ thresholdDb: 20 });
    const { stdout } = await run(...command, "--threshold", "-100");
    expect(stdout).toContain("agree on 4 samples (SQNR of at least the threshold, -100 dB).");
    expect((await run("compare", "--help")).stdout).toContain("--threshold <number>");
  });
});

describe("external data", () => {
  test("is found beside the model by every command", async () => {
    const { graph, origin } = readOnnx(tinyConvNet(), { name: "conv" });
    await mkdir(join(folder, "external"));
    const parts: Uint8Array[] = [];
    const externalData = { location: "weights.bin", append: (bytes: Uint8Array) => void parts.push(bytes.slice()) };
    await put("external/model.onnx", writeOnnx({ graph, origin }, { opset: 13, externalData }));
    await put("external/weights.bin", Buffer.concat(parts));
    expect(parts.length).toBeGreaterThan(0);
    expect((await run("compare", "conv.onnx", "external/model.onnx", ...cifar, "--json")).json()).toMatchObject({
      firstDiverged: null,
    });
    expect((await run("evaluate", "external/model.onnx", ...cifar, "--json")).json()).toEqual(
      (await run("evaluate", "conv.onnx", ...cifar, "--json")).json(),
    );
    expect((await run("inspect", "external/model.onnx", "--json")).json()).toMatchObject({
      layers: [{ name: "conv1" }, {}, {}],
    });
  });
});

describe("doctor", () => {
  test("shows engines, versions and instruction sets", async () => {
    const machine = (await run("doctor", "--json")).json();
    expect(machine).toMatchObject({
      versions: { node: process.versions.node },
      engines: [{ name: "onnxruntime", available: true }, { name: "native" }, { name: "reference", available: true }],
      kernels: isNativeBuilt ? { path: expect.stringMatching(/kernels\.json$/), faulty: [], problem: null } : null,
      problems: [],
    });
    expect((await run("doctor")).stdout).toMatch(
      isNativeBuilt
        ? /\nNothing is missing\.\n$/
        : /\nNothing that is needed is missing\. The native engine is optional\.\n$/,
    );
  });
});

describe("errors", () => {
  test("the user's are a message without a stack and exit code 1", async () => {
    const result = await run("inspect", "nowhere.onnx");
    expect(result.code).toBe(1);
    expect(result.stderr).toBe('error: Cannot read "nowhere.onnx": no such file or folder.\n');
    expect(result.stderr).not.toContain("    at ");
    expect((await run("inspect", "nowhere.onnx", "--verbose")).stderr).toContain("    at ");
  });

  test("with --json they are also one JSON object on the last line of standard output", async () => {
    const result = await run("inspect", "nowhere.onnx", "--json");
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/^error: .*nowhere\.onnx/);
    expect(result.json()).toEqual({ error: { code: "IO", message: expect.stringContaining("nowhere.onnx") } });
    expect((await run("evaluate", "conv.onnx", "--dat", "cifar10:cifar", "--json")).json()).toEqual({
      error: { code: "BAD_OPTION", message: expect.stringContaining("(Did you mean --data?)") },
    });
    expect((await run("inspect", "nowhere.onnx")).stdout).toBe("");
  });

  test("an unknown option suggests the one that was meant", async () => {
    const result = await run("evaluate", "conv.onnx", "--dat", "cifar10:cifar");
    expect(result.code).toBe(1);
    expect(result.stderr).toContain("(Did you mean --data?)");
  });

  test("a choice or a command that was mistyped suggests the one that was meant", async () => {
    const result = await run("quantize", "conv.onnx", ...cifar, "--method", "efat");
    const names = methodNames.map((name) => `"${name}"`);
    expect([result.code, result.stderr]).toEqual([
      1,
      `error: --method is efat; did you mean "efqat"? Expected values separated by commas, each ${names.slice(0, -1).join(", ")} or ${names.at(-1)}.\n`,
    ]);
    for (const command of [["quantise"], ["help", "quantise"]]) {
      const unknown = await run(...command);
      expect([unknown.code, unknown.stderr]).toEqual([
        1,
        expect.stringMatching(/^error: unknown command 'quantise'\n\(Did you mean quantize\?\)\n/),
      ]);
    }
    const help = await run("help", "quantize");
    expect([help.code, help.stdout]).toEqual([0, (await run("quantize", "--help")).stdout]);
    expect((await run("help")).stdout).toContain("Commands:");
  });

  test("a missing option is named", async () => {
    expect((await run("evaluate", "conv.onnx")).stderr).toContain(
      '--data is missing; it takes "images:DIR", "cifar10:DIR", "mnist:DIR", "npy:INPUTS,LABELS", "npz:FILE", "text:FILE.tsv" or "module:./file.js"',
    );
  });

  test("an argument that is missing is named, with where to look", async () => {
    const { code, stderr } = await run("evaluate");
    expect(code).toBe(1);
    expect(stderr).toMatch(/missing required argument 'model'\s+--help shows arguments and options\./);
  });

  test("a file of another format is named by commands that leave reading to ONNX Runtime", async () => {
    await writeFile(join(folder, "weights.pt"), "PK\x03\x04archive/data.pkl");
    await writeFile(join(folder, "nothing.onnx"), "");
    const evaluate = (file: string): Promise<CliResult> => run("evaluate", file, "--data", "cifar10:cifar");
    expect((await evaluate("weights.pt")).stderr).toMatch(
      /^error: weights\.pt: the file is a zip archive, .*torch\.onnx\.export/,
    );
    expect((await evaluate("nothing.onnx")).stderr).toBe("error: nothing.onnx: the file is empty.\n");
    expect((await evaluate("nowhere.onnx")).stderr).toMatch(/^error: Cannot read "nowhere\.onnx": no such file/);
  });

  test.skipIf(!existsSync("/dev/full"))("standard output that is full is one message, not a stack", () => {
    const full = openSync("/dev/full", "w");
    const { status, stderr } = spawnSync(process.execPath, [cliPath, "doctor"], {
      stdio: ["ignore", full, "pipe"],
      encoding: "utf8",
    });
    closeSync(full);
    expect(stderr).toBe(
      "error: Cannot write to standard output: the disk is full. Free some space, or send it elsewhere.\n",
    );
    expect(status).toBe(1);
  });

  test("help and version are not errors", async () => {
    expect((await run("--version")).code).toBe(0);
    const help = await run("evaluate", "--help");
    expect(help.code).toBe(0);
    expect(help.stdout).toContain("--preprocess <choice>");
  });
});
