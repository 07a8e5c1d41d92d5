// The package as a program sees it: what it exports, and what importing it costs.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

async function evaluate(code: string): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", code], {
    cwd: root,
  });
  return JSON.parse(stdout);
}

test("the library exports these names", async () => {
  const names = await evaluate(`console.log(JSON.stringify(Object.keys(await import("frostbit"))))`);
  expect(names).toEqual([
    "FrostbitError",
    "ablateFile",
    "ablationFromRecipe",
    "areaUnderCurve",
    "buildOn",
    "compareModels",
    "evaluateFile",
    "evaluateGraph",
    "evaluateModel",
    "evaluateText",
    "generateText",
    "inspectModel",
    "loadHighs",
    "meanAbsoluteError",
    "meanAveragePrecision",
    "memoryDataset",
    "openData",
    "openDeployed",
    "openMetric",
    "openTestData",
    "openTextSource",
    "quantizeFile",
    "quantizeForTransformersJs",
    "quantizeModel",
    "quantizeWithoutData",
    "readModel",
    "readOnnx",
    "reportSchema",
    "resolvePreprocess",
    "runOptions",
    "selectEngine",
    "tensor",
    "tensorOf",
    "topK",
    "verifyRun",
    "writeOnnx",
  ]);
});

test("frostbit/browser exports these names", async () => {
  const names = await evaluate(`console.log(JSON.stringify(Object.keys(await import("frostbit/browser"))))`);
  expect(names).toEqual([
    "FrostbitError",
    "evaluateGraph",
    "evaluateModel",
    "inspectModel",
    "memoryDataset",
    "parseDatasetModule",
    "quantizeModel",
    "readOnnx",
    "resolvePreprocess",
    "runOptions",
    "runtimeOf",
    "tensor",
    "tensorOf",
    "writeOnnx",
  ]);
});

test("importing the library does not load ONNX Runtime", async () => {
  const loaded = `process.report.getReport().sharedObjects.filter((file) => file.includes("onnxruntime"))`;
  const [before, after] = (await evaluate(`
    await import("frostbit");
    await import("frostbit/browser");
    const before = ${loaded};
    await import("onnxruntime-node");
    console.log(JSON.stringify([before, ${loaded}]));
  `)) as readonly (readonly string[])[];
  expect(before).toEqual([]);
  expect(after).not.toEqual([]);
});
