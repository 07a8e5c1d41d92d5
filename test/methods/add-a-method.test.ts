// docs/internals/add-a-method.md, followed literally on a copy of the sources: what it adds runs as command, recipe and library.
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from "vitest";
import { imageOptions, preprocessOptions } from "../../src/cli/data-options.ts";
import { methodFlags, runFlags, stepFlags } from "../../src/cli/method-flags.ts";
import { quantizeCommandOptions } from "../../src/cli/quantize.ts";
import { methods } from "../../src/methods/index.ts";
import type { Method } from "../../src/methods/method.ts";
import { quantizationOptions, wholeOptions } from "../../src/options/run-options.ts";
import { reportSchema } from "../../src/report/report.ts";
import { blocksOf, root } from "../support/markdown.ts";

const page = "docs/internals/add-a-method.md";
const shapes = join(root, "examples/shapes");

/** Parts of a method that may be left out. */
type Optional = { [Part in keyof Method]: Omit<Method, Part> extends Method ? Part : never };

describe("a method", () => {
  test("has no part that can be forgotten", () => {
    expectTypeOf<Optional[keyof Method]>().toBeNever();
  });

  test("has a unique name, which is its folder's", () => {
    const names = methods.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(readFileSync(join(root, `src/methods/${name}/README.md`), "utf8")).toMatch(/^# /);
  });

  test("has no option that is a flag of something else", () => {
    const others = [methodFlags, quantizationOptions, wholeOptions, quantizeCommandOptions, preprocessOptions];
    const taken = [...others, imageOptions].flatMap(({ shape }) => Object.keys(shape));
    expect(Object.keys(stepFlags.shape).filter((name) => taken.includes(name))).toEqual([]);
    expect(Object.keys(runFlags.shape)).toEqual(expect.arrayContaining(Object.keys(stepFlags.shape)));
  });
});

let folder = "";
const read = (path: string): string => readFileSync(join(folder, path), "utf8");

function node(script: string, ...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(folder, script), ...args], { cwd: folder, encoding: "utf8" });
}

/** Runs the built command; throws what it says where it fails. */
function frostbit(...args: readonly string[]): string {
  const { status, stdout, stderr } = node("build/src/cli/main.js", ...args);
  expect(status, stderr).toBe(0);
  return stdout + stderr;
}

function tsc(...args: readonly string[]): string {
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  return spawnSync(process.execPath, [compiler, ...args], { cwd: folder, encoding: "utf8" }).stdout;
}

/** Imports go to the imports, entries to the end of the list. */
function withLines(source: string, added: string): string {
  const lines = added.split("\n").filter((line) => line !== "");
  const imports = lines.filter((line) => line.startsWith("import "));
  const entries = lines.filter((line) => line.startsWith("  "));
  expect([imports.length, entries.length, lines.length]).toEqual([2, 2, 4]);
  return source
    .replace("import { ptqMethod }", `${imports.join("\n")}\n$&`)
    .replace(/(methods: readonly Method\[\] = \[\n)(.*?)(^\];)/ms, `$1$2${entries.join("\n")}\n$3`);
}

function addMethods(): void {
  for (const { language, code } of blocksOf(page)) {
    const [, words, path] = /^\w+ (added to )?(\S+)$/.exec(language) ?? [];
    expect(path, language).toBeDefined();
    const file = join(folder, path);
    if (words === undefined) mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, words === undefined ? code : withLines(readFileSync(file, "utf8"), code));
  }
}

describe("the methods of docs/internals/add-a-method.md", () => {
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "frostbit-method-"));
    for (const name of ["src", "scripts", "package.json", "tsconfig.json", "CHANGELOG.md"])
      cpSync(join(root, name), join(folder, name), { recursive: true, filter: (path) => !path.endsWith(".test.ts") });
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    addMethods();
    const compilerOptions = { noEmit: false, outDir: "build", rootDir: "." };
    const config = { extends: "./tsconfig.json", compilerOptions, include: ["src", "scripts"] };
    writeFileSync(join(folder, "tsconfig.build.json"), JSON.stringify(config));
    expect(tsc("-p", "tsconfig.build.json")).toBe("");
  }, 300_000);
  afterAll(() => rmSync(folder, { recursive: true }));

  const model = join(shapes, "shapes.onnx");
  const data = ["--data", `module:${join(shapes, "shapes.js")}`, "--preprocess", "unit", "--engine", "onnxruntime"];
  const quantize = (...args: readonly string[]): string =>
    frostbit("quantize", model, ...data, "--threads", "1", ...args);
  const flags = [
    ...["--prepare", "weight-clipping", "--deviations", "3", "--mode", "high"],
    ...["--method", "last-layers", "--count", "2", "--batch", "16", "--steps", "2", "--calibration-samples", "32"],
    ...["--limit", "64", "--accuracies", "deployed"],
  ];

  test("run by flags, and stand in the report", () => {
    expect(quantize(...flags, "--out", "flags")).toMatch(/^ +float +ptq +trained +quantized +deployed\n/);
    const report = reportSchema.parse(JSON.parse(read("flags/report.json")));
    expect(report.methods).toMatchObject([
      { method: "weight-clipping", options: { deviations: 3, mode: "high" } },
      { method: "ptq" },
      { method: "last-layers", options: { count: 2, batch: 16, steps: 2 } },
    ]);
    expect(report.training.blocks.trained).toBe(2);
    expect(report.training.blocks.all).toBe(report.layers.length);
    expect(read("flags/report.html")).toContain("weight-clipping, then ptq, then last-layers on the");
  }, 120_000);

  test("run by the recipe that the run left, to the same bytes", () => {
    quantize("--recipe", "flags/recipe.yaml", "--out", "recipe");
    expect(read("flags/recipe.yaml")).toMatch(/- weight-clipping:\n +deviations: 3\n/);
    expect(readFileSync(join(folder, "recipe/model.onnx"))).toEqual(readFileSync(join(folder, "flags/model.onnx")));
  }, 120_000);

  test("run from the library, to the same bytes, and are known to inspect", () => {
    const script = `
      import { buildOn, inspectModel, openData, quantizeFile, resolvePreprocess, runOptions, selectEngine, tensorOf } from "./build/src/index.js";
      const training = { count: 2, batch: 16, steps: 2 };
      await quantizeFile({
        modelPath: ${JSON.stringify(model)},
        source: await openData(${JSON.stringify(data[1])}),
        preprocess: resolvePreprocess("unit"),
        options: runOptions.parse({
          quantize: { calibrationSamples: 32 },
          methods: [{ "weight-clipping": { deviations: 3, mode: "high" } }, { "last-layers": training }],
          limit: 64,
          accuracies: "deployed",
        }),
        engine: selectEngine("onnxruntime"),
        threads: 1,
        out: "library",
      });
      const build = buildOn();
      const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
      const slopes = build.constant(tensorOf("float32", [4], [1, 2, 3, 4]), "slopes");
      console.log(JSON.stringify(inspectModel(build.graph([build.node("PRelu", [x, slopes])])).learned[0].trainsIn));
    `;
    writeFileSync(join(folder, "library.mjs"), script);
    const { status, stdout, stderr } = node("library.mjs");
    expect(status, stderr).toBe(0);
    expect(JSON.parse(stdout.trim().split("\n").at(-1) ?? "")).toEqual(["efqat", "qat", "float", "last-layers"]);
    expect(readFileSync(join(folder, "library/model.onnx"))).toEqual(readFileSync(join(folder, "flags/model.onnx")));
  }, 120_000);

  test("share a flag with another method, each taking what is meant for it", () => {
    const flagsOfBoth = ["--prepare", "weight-clipping", "--method", "efqat", "--steps", "1", "--batch", "16"];
    const small = ["--limit", "64", "--accuracies", "deployed", "--calibration-samples", "32", "--out", "both"];
    const output = quantize(...flagsOfBoth, ...small, "--mode", "lwpn");
    expect(output).toContain("--mode lwpn: no effect in weight-clipping, which does not take it.");
    const { methods: steps } = reportSchema.parse(JSON.parse(read("both/report.json")));
    expect(steps).toMatchObject([{ options: { mode: "both" } }, { method: "ptq" }, { options: { mode: "lwpn" } }]);
  }, 120_000);

  test("are named in help, notes and errors", () => {
    const help = frostbit("quantize", "--help").replaceAll(/\s+/g, " ");
    expect(help).toContain("weight-clipping clips weights that are far from the others of their layer");
    expect(help).toContain("--count <number> How many layers train, from the end of the model. (default: 1)");
    const refused = (...args: readonly string[]): string =>
      node("build/src/cli/main.js", "quantize", model, ...data, ...args).stderr;
    expect(refused("--method", "last-layer")).toContain('--method is last-layer; did you mean "last-layers"?');
    expect(refused("--method", "last-layers", "--count", "0")).toContain(
      "--count is 0; expected a whole number above 0",
    );
    expect(refused("--method", "ptq,float")).toContain("--method float: a float model is trained alone");
    writeFileSync(join(folder, "wrong.yaml"), "methods: [{ qat: { deviations: 3 } }]");
    expect(refused("--recipe", "wrong.yaml")).toContain("deviations: no such option; weight-clipping has it; ");
    writeFileSync(join(folder, "late.yaml"), "methods: [last-layers, weight-clipping]");
    expect(refused("--recipe", "late.yaml")).toContain("methods[1].weight-clipping: it cannot come after last-layers.");
  }, 120_000);

  test("have pages and stand in the lists", () => {
    const script = `
      import { readFileSync } from "node:fs";
      import { writtenPages } from "./build/scripts/written-pages.js";
      console.log(JSON.stringify([...writtenPages((path) => readFileSync(path, "utf8"))]));
    `;
    writeFileSync(join(folder, "pages.mjs"), script);
    const { status, stdout, stderr } = node("pages.mjs");
    expect(status, stderr).toBe(0);
    const pages = new Map(JSON.parse(stdout) as [string, string][]);
    expect(pages.get("methods/weight-clipping.md")).toMatch(
      /# Weight clipping.*## Options of weight-clipping.*--deviations/s,
    );
    expect(pages.get("methods/last-layers.md")).toMatch(/--count.*## Options of training.*--epochs/s);
    expect(pages.get("options.md")).toMatch(/`weight-clipping` clips weights.*## The method last-layers/s);
    expect(pages.get("commands.md")).toContain("weight-clipping: Which weights:");
  });
});
