// Metrics by name and of the user's own: their values by hand, and runs that choose by them.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { memoryDataset } from "../../src/data/memory-dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { measureGraphBy } from "../../src/evaluate/evaluate-graph.ts";
import { evaluateModel } from "../../src/evaluate/evaluate-model.ts";
import { type Box, meanAveragePrecision } from "../../src/evaluate/known-metrics.ts";
import { assert } from "../../src/ir/errors.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { quantizeToGoal } from "../../src/ladder/quantize-to-goal.ts";
import { openMetric } from "../../src/node/open-metric.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { runOptions } from "../../src/options/recipe.ts";
import { origin } from "../support/export-quantized.ts";
import { createRandom } from "../support/random.ts";

const folder = mkdtempSync(join(tmpdir(), "metric-"));
afterAll(() => rmSync(folder, { recursive: true }));

function moduleOf(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return `module:${join(folder, name)}`;
}

const preprocess = resolvePreprocess("none");

/** A file whose output is its input. */
function identity(size: number): Uint8Array {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", size] });
  return writeOnnx({ graph: build.graph([build.node("Identity", [x], {}, "y")]), origin }, { opset: 20 });
}

/** What a metric makes of outputs and labels. */
async function measured(metric: string, rows: readonly (readonly number[])[], labels: Tensor | undefined) {
  const x = tensorOf("float32", [rows.length, rows[0].length], rows.flat());
  const dataset = memoryDataset("drawn", new Map([["x", x]]), ...(labels ? [labels] : []));
  const file = await openDeployed(identity(rows[0].length));
  try {
    const options = { preprocess, metric: await openMetric(metric), batchSize: 2 };
    return (await evaluateModel(file, dataset, options)).metric;
  } finally {
    await file.dispose();
  }
}

test("outputs that have their samples along a later axis, as recurrent layers do, are given sample by sample", async () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 3, 2] });
  const graph = build.graph([build.node("Transpose", [x], { perm: [1, 0, 2] }, "y")]);
  const rows = Array.from({ length: 3 * 3 * 2 }, (_, i) => i);
  const dataset = memoryDataset("drawn", new Map([["x", tensorOf("float32", [3, 3, 2], rows)]]));
  const seen: (readonly number[])[] = [];
  const metric = {
    name: "seen",
    higherIsBetter: true,
    of: ({ y }: Readonly<Record<string, Tensor>>) => seen.push([...y.shape, ...numbersOf(y)]),
  };
  const expected = [0, 1, 2].map((sample) => [3, 2, ...rows.slice(6 * sample, 6 * sample + 6)]);
  const file = await openDeployed(writeOnnx({ graph, origin }, { opset: 20 }));
  // The last one alone is run as two.
  await evaluateModel(file, dataset, { preprocess, metric, batchSize: 2 }).finally(() => file.dispose());
  expect(seen).toEqual(expected);
  seen.length = 0;
  const context = { engine: createReferenceEngine(), seed: 0 };
  await measureGraphBy(metric, graph, dataset, preprocess, { context, phase: "evaluate" });
  expect(seen).toEqual(expected);
});

test("the output that is meant comes first, in float and in the file", async () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
  const graph = build.graph([build.node("Neg", [x], {}, "first"), build.node("Identity", [x], {}, "second")]);
  const dataset = memoryDataset("drawn", new Map([["x", tensorOf("float32", [2, 2], [1, 2, 3, 4])]]));
  const seen: string[] = [];
  const metric = {
    name: "seen",
    higherIsBetter: true,
    of: (outputs: Readonly<Record<string, Tensor>>) => seen.push(Object.keys(outputs).join()),
  };
  const file = await openDeployed(writeOnnx({ graph, origin }, { opset: 20 }));
  await evaluateModel(file, dataset, { preprocess, metric, output: "second" }).finally(() => file.dispose());
  expect(seen).toEqual(["second,first", "second,first"]);
  seen.length = 0;
  const context = { engine: createReferenceEngine(), seed: 0 };
  const reordered = { ...graph, outputs: ["second", "first"] };
  await measureGraphBy(metric, reordered, dataset, preprocess, { context, phase: "evaluate" });
  expect(seen).toEqual(["second,first", "second,first"]);
});

const classes = (...labels: readonly number[]): Tensor => tensorOf("int64", [labels.length], labels);

describe("a metric by name", () => {
  test("top2 counts labels among the two largest scores", async () => {
    const rows = [
      [3, 2, 1],
      [1, 2, 3],
      [2, 2, 1],
    ];
    expect(await measured("top2", rows, classes(1, 0, 1))).toEqual({
      name: "top-2",
      value: 200 / 3,
      higherIsBetter: true,
    });
  });

  test("auc is the share of pairs in the right order, equals counting half", async () => {
    // 0.8 and 0.4 are true: of the four pairs with 0.4 and 0.1, three are right and one is equal.
    const auc = await measured("auc", [[0.8], [0.4], [0.4], [0.1]], classes(1, 1, 0, 0));
    expect(auc?.value).toBe(3.5 / 4);
    const two = [
      [0, 0.8],
      [0, 0.4],
      [0, 0.4],
      [0, 0.1],
    ];
    expect((await measured("auc", two, classes(1, 1, 0, 0)))?.value).toBe(3.5 / 4);
  });

  test("mae is the mean distance", async () => {
    const mae = await measured(
      "mae",
      [
        [1, 2],
        [3, 4],
      ],
      tensorOf("float32", [2, 2], [1, 4, 3, 3]),
    );
    expect(mae).toEqual({ name: "MAE", value: 0.75, higherIsBetter: false });
  });

  test("another is refused with what there is", async () => {
    await expect(openMetric("f1")).rejects.toThrow(
      'metric is "f1"; expected "module:./metric.js", "top5" (any number of classes), "auc", "mae".',
    );
  });
});

test("mean average precision is the area under the curve of each class", () => {
  const at = (left: number, label: number): Box => ({ box: [left, 0, left + 10, 10], label });
  const counts = meanAveragePrecision();
  // Class 0: right at 0.9, wrong at 0.8, right at 0.7, of three: 1/3 · 1 + 1/3 · 2/3. Class 1: none found.
  counts.add(
    [
      { ...at(1, 0), score: 0.9 },
      { ...at(40, 0), score: 0.8 },
    ],
    [at(0, 0), at(20, 1)],
  );
  counts.add([{ ...at(0, 0), score: 0.7 }], [at(0, 0), at(60, 0)]);
  expect(counts.value()).toBeCloseTo((1 / 3 + 2 / 9 + 0) / 2);
  // An overlap of 9/11 is no match at 0.9.
  const strict = meanAveragePrecision([0.9]);
  strict.add([{ ...at(1, 0), score: 0.9 }], [at(0, 0)]);
  expect(strict.value()).toBe(0);
});

describe("a module", () => {
  test("with a function of one sample", async () => {
    const where = moduleOf(
      "function.js",
      "export const name = 'sum'; export const higherIsBetter = false; export const metric = ({ y }, labels) => y.data[0] + y.data[1] + Number(labels.data[0]);",
    );
    expect(
      await measured(
        where,
        [
          [1, 2],
          [3, 4],
          [5, 6],
        ],
        classes(1, 1, 4),
      ),
    ).toEqual({
      name: "sum",
      value: (4 + 8 + 15) / 3,
      higherIsBetter: false,
    });
  });

  test("with an object starts again for each file, and needs no labels", async () => {
    const where = moduleOf(
      "object.js",
      "let most = -Infinity; export const metric = { name: 'most', add: ({ y }) => { most = Math.max(most, ...y.data); }, value: () => most };",
    );
    expect((await measured(where, [[7], [9], [8]], undefined))?.value).toBe(9);
    expect((await measured(where, [[1], [2], [3]], undefined))?.value).toBe(3);
  });

  test.each([
    ["nothing.js", "export const other = 1;", /exports other; expected metric/],
    ["text.js", "export const metric = () => 'good';", /The metric "metric" gave good; expected a number/],
    ["broken.js", "throw new Error('no');", /Cannot load metric ".*broken.js": no/],
  ])("that is no metric is refused: %s", async (name, text, message) => {
    await expect(measured(moduleOf(name, text), [[1]], undefined)).rejects.toThrow(message);
  });
});

const random = createRandom(5);

/** Two layers with 1×1 filters. */
function hidden(build: ReturnType<typeof buildOn>, x: string, channels: readonly [number, number, number]): string {
  const filters = (rows: number, columns: number): string =>
    build.constant(random.tensor("float32", [rows, columns, 1, 1]));
  const [inputs, middle, outputs] = channels;
  return build.node("Conv", [
    build.node("Relu", [build.node("Conv", [x, filters(middle, inputs)])]),
    filters(outputs, middle),
  ]);
}

/** Four cells of a picture, each with a box and the scores of two classes. */
function detector(): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 3, 2, 2] });
  const cells = (value: string, count: number): string =>
    build.node("Transpose", [build.node("Reshape", [value, build.ints([0, count, 4])])], { perm: [0, 2, 1] });
  const boxes = build.node(
    "Add",
    [cells(hidden(build, x, [3, 8, 4]), 4), build.constant(tensorOf("float32", [4], [0, 0, 20, 20]))],
    {},
    "boxes",
  );
  const scores = build.node("Sigmoid", [cells(hidden(build, x, [3, 8, 2]), 2)], {}, "scores");
  return build.graph([boxes, scores]);
}

function segmentation(): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 3, 6, 6] });
  return build.graph([build.node("Identity", [hidden(build, x, [3, 8, 1])], {}, "mask")]);
}

/** What the float model gives is what is right: it is worth 1. */
const examples = {
  detection: {
    graph: detector,
    labels: (outputs: ReadonlyMap<string, Tensor>): Tensor => {
      const [boxes, scores] = ["boxes", "scores"].map((name) => outputs.get(name));
      assert(boxes && scores, "no boxes");
      const values = Array.from({ length: scores.data.length / 2 }, (_, i) => {
        const [first, second] = numbersOf(scores).slice(2 * i, 2 * i + 2);
        return [Number(second > first), ...numbersOf(boxes).slice(4 * i, 4 * i + 4)];
      });
      return tensorOf("float32", [scores.shape[0], 4, 5], values.flat());
    },
  },
  segmentation: {
    graph: segmentation,
    labels: (outputs: ReadonlyMap<string, Tensor>): Tensor => {
      const mask = outputs.get("mask");
      assert(mask, "no mask");
      return tensorOf(
        "int64",
        [mask.shape[0], 6, 6],
        Array.from(numbersOf(mask), (value) => Number(value > 0)),
      );
    },
  },
} as const;

test.each(Object.keys(examples) as (keyof typeof examples)[])(
  "the example of %s judges float model and file",
  async (name) => {
    const { graph: make, labels } = examples[name];
    const graph = make();
    const x = createRandom(8).tensor("float32", [64, ...(graph.values.get("x")?.shape.slice(1).map(Number) ?? [])]);
    const bytes = writeOnnx({ graph, origin }, { opset: 20 });
    const float = await openDeployed(bytes);
    const outputs = await float.run(new Map([["x", x]]));
    await float.dispose();
    const data = memoryDataset("drawn", new Map([["x", x]]), labels(outputs));
    const options = runOptions.parse({ goal: { maxDrop: 1 }, quantize: { placement: "inputs", weights: 8 } });
    assert(options.goal, "no goal");
    const { outcome, climbed } = await quantizeToGoal(
      {
        model: { graph, origin },
        source: { train: data, test: data, heldOut: false },
        preprocess,
        metric: await openMetric(`module:examples/metrics/${name}.js`),
        options: { ...options, goal: options.goal },
        openDeployed,
      },
      { engine: createReferenceEngine(), seed: 0 },
      {},
    );
    const [before, after] = ["float" as const, "deployed" as const].map((stage) => outcome.metrics.get(stage)?.metric);
    if (name === "segmentation") expect(before).toMatchObject({ name: "Dice", value: 1 });
    else expect(before?.value).toBeGreaterThan(0.5);
    expect(after?.value).toBeGreaterThan(0.8 * (before?.value ?? 1));
    expect(after?.value).toBeLessThanOrEqual(1);
    expect(climbed.records[0]).toMatchObject({ outcome: "tried", drop: { what: "metric" } });
  },
);
