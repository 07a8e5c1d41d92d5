// Mixed precision as a whole run: what is written keeps the budget.
import { describe, expect, test } from "vitest";
import { runFromFlags } from "../../src/cli/method-flags.ts";
import { memoryDataset } from "../../src/data/memory-dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { tensorOf } from "../../src/ir/tensor.ts";
import { loadHighs } from "../../src/node/load-highs.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { runOptions } from "../../src/options/recipe.ts";
import { makeModel, openRun, quantizeModel } from "../../src/quantize/quantize-model.ts";
import type { KnownResults } from "../../src/quantize/run-methods.ts";
import { createRandom } from "../support/random.ts";
import { tinyResidualNet } from "../support/tiny-models.ts";

const classes = 10;
const model = readOnnx(tinyResidualNet({ size: 8 }), { name: "m.onnx" });
const [input] = model.graph.inputs;

function samples(count: number, seed: number) {
  const random = createRandom(seed);
  const pixels = Array.from({ length: count * 3 * 8 * 8 }, () => random.normal());
  const labels = Array.from({ length: count }, () => Math.floor(random.uniform() * classes));
  return memoryDataset(
    "drawn",
    new Map([[input, tensorOf("float32", [count, 3, 8, 8], pixels)]]),
    tensorOf("int64", [count], labels),
  );
}

const source = { train: samples(48, 1), test: samples(16, 2), heldOut: false };

async function quantized(budget: Readonly<Record<string, unknown>>, layers = {}, notes: string[] = [], solves = true) {
  const options = runOptions.parse({
    quantize: { calibrationSamples: 32, placement: "inputs", layers },
    methods: [{ "mixed-precision": { sensitivitySamples: 32, ...budget } }],
    accuracies: "deployed",
  });
  const job = {
    model,
    source,
    preprocess: resolvePreprocess("none"),
    options,
    openDeployed,
    ...(solves && { loadSolver: loadHighs }),
  };
  const onNote = (note: string) => notes.push(note);
  const { bytes, trained, findings } = await quantizeModel(job, { engine: createReferenceEngine(), seed: 0, onNote });
  const quantizers = trained.nodes.filter(
    ({ op, inputs }) => op === "FakeQuantize" && trained.constants.has(inputs[0]),
  );
  const weights = quantizers.map(({ inputs, attributes }) => ({
    name: inputs[0],
    bits: Number(attributes["bits"]),
    count: trained.constants.get(inputs[0])?.data.length ?? 0,
  }));
  const count = weights.reduce((sum, weight) => sum + weight.count, 0);
  return {
    bytes,
    weights,
    findings: findings.widths,
    mean: weights.reduce((sum, weight) => sum + weight.bits * weight.count, 0) / count,
  };
}

describe("several budgets at once", () => {
  test("are all kept, and the note says what is spent of each", async () => {
    const notes: string[] = [];
    const { mean, bytes, findings } = await quantized({ maxBits: 4, maxSize: 6500, maxBops: "0.7M" }, {}, notes);
    expect(mean).toBeLessThanOrEqual(4);
    expect(bytes.length).toBeLessThanOrEqual(6500);
    expect(findings?.budget.unit).toBe("bits");
    const note = notes.find((text) => text.startsWith("Mixed precision, ")) ?? "";
    const [, spent, most] = /maxBops (\S+) of (\S+) bops/.exec(note) ?? [];
    expect(Number(spent)).toBeLessThanOrEqual(Number(most));
  });

  test("one of them out of reach is named; without a solver the error says how to get one", async () => {
    await expect(quantized({ maxBits: 4, maxBops: 1000 })).rejects.toThrow(/maxBops is 1000; with 2 bits .* takes \d+/);
    await expect(quantized({ maxBits: 4, maxSize: 9000 }, {}, [], false)).rejects.toThrow("npm's highs installed");
  });
});

describe("mixed precision", () => {
  test("a budget of bits is the mean of the weights' bits at most, and is spent", async () => {
    const { weights, mean } = await quantized({ maxBits: 3.5 });
    expect(mean).toBeLessThanOrEqual(3.5);
    expect(mean).toBeGreaterThan(3);
    expect(new Set(weights.map(({ bits }) => bits)).size).toBeGreaterThan(1);
  });

  test("the report has what was chosen from, and its bits as a recipe give the same run again", async () => {
    const { findings, weights, mean } = await quantized({ maxBits: 3.5 }, { stem: { weights: 8 } });
    if (!findings) throw new Error("nothing was found");
    const { layers, budget, plans, front, uniform, sensitivities } = findings;
    expect(budget).toEqual({ unit: "bits", most: 3.5 });
    expect(layers.map(({ bits }) => bits).toSorted()).toEqual(weights.map(({ bits }) => bits).toSorted());
    expect(layers.filter(({ isGiven }) => isGiven)).toMatchObject([{ bits: 8 }]);
    expect(plans[0].amount).toBeCloseTo(mean, 9);
    expect(plans.map(({ by }) => by).toSorted()).toEqual(["divergence", "uniform"]);
    expect(plans[0].divergence).toBeLessThanOrEqual(plans[1].divergence);
    expect(uniform.map(({ bits }) => bits)).toEqual([2, 3, 4, 5, 6, 8]);
    // No plan of the same bits for all is below the front.
    for (const { amount, loss } of uniform) {
      const best = front.find((point) => point.amount >= amount) ?? front.at(-1);
      expect(best?.loss).toBeLessThanOrEqual(loss);
    }
    expect(sensitivities[0].losses).toHaveLength(layers.length - 1);
    const given = Object.fromEntries(
      layers.flatMap(({ names, bits }) => names.map((name) => [name, { weights: bits }])),
    );
    const again = await quantized({ maxBits: 8 }, given);
    expect(again.weights).toEqual(weights);
  });

  test("a budget of time is that of the written file at most", async () => {
    const { findings } = await quantized({ maxLatency: "1000x", widths: [4, 8] });
    if (!findings) throw new Error("nothing was found");
    const { budget, plans, uniform } = findings;
    expect(budget.unit).toBe("ms");
    expect(plans[0].amount).toBeLessThanOrEqual(budget.most);
    // With time for everything, the widest loses least.
    expect(plans[0].bits).toEqual(plans[0].bits.map(() => 8));
    expect(uniform.map(({ bits }) => bits)).toEqual([4, 8]);
    await expect(quantized({ maxLatency: 1e-6, widths: [4, 8] })).rejects.toThrow(
      /maxLatency is 0\.00000100 ms; with the fastest .* 4 bits .* ms, 8 bits .* ms, float .* ms\. Below 8 bits/,
    );
  });

  test("layers whose bits are given keep them, and count", async () => {
    const free = await quantized({ maxBits: 4 });
    const [{ name }] = free.weights;
    const layer = name.replace(/\.weight$/, "");
    const { weights, mean } = await quantized({ maxBits: 4 }, { [layer]: { weights: 8 } });
    expect(weights.find((weight) => weight.name === name)?.bits).toBe(8);
    expect(mean).toBeLessThanOrEqual(4);
  });

  test("a budget of bytes is the size of the file at most", async () => {
    const [small, large] = [await quantized({ maxBits: 2, widths: [2] }), await quantized({ maxBits: 8, widths: [8] })];
    const maxSize = Math.round((small.bytes.length + large.bytes.length) / 2);
    const { bytes, weights } = await quantized({ maxSize });
    expect(bytes.length).toBeLessThanOrEqual(maxSize);
    expect(weights.some(({ bits }) => bits > 2)).toBe(true);
    await expect(quantized({ maxSize: 1000 })).rejects.toThrow(
      /maxSize is 1000 bytes; with 2 bits .* the file has \d+/,
    );
    // Of the float model's file, of which quantized ones have about the nodes.
    const floatBytes = tinyResidualNet({ size: 8 }).length;
    const part = (maxSize / floatBytes).toFixed(3);
    const { bytes: ofPart } = await quantized({ maxSize: `${part}x` });
    expect(ofPart.length / maxSize).toBeLessThan(1.02);
    expect(ofPart.length / maxSize).toBeGreaterThan(0.9);
  });

  test("a budget that no width meets is refused before any work", () => {
    const parse = (options: object) => runOptions.parse({ methods: [{ "mixed-precision": options }] });
    expect(() => parse({})).toThrow(/maxBits.*is missing; mixed precision needs a budget/);
    expect(() => parse({ maxBits: 3, widths: [4, 8] })).toThrow(/maxBits.*is 3; the narrowest of widths is 4/);
    expect(() => parse({ maxLatency: "2 minutes" })).toThrow(/1\.5ms/);
    expect(() => parse({ maxSize: "many" })).toThrow(/120kB/);
  });

  test("a budget among the command's flags calls for it", () => {
    const methodsOf = (values: Readonly<Record<string, unknown>>) =>
      runFromFlags(values).run.methods.map(({ method }) => method);
    expect(methodsOf({ method: "ptq", maxBits: "3.5" })).toEqual(["mixed-precision", "ptq", "output-error-ranges"]);
    expect(methodsOf({ method: "ptq", prepare: "mixed-precision", maxSize: "120kB" })).toEqual([
      "mixed-precision",
      "ptq",
    ]);
    expect(methodsOf({ method: "ptq" })).toEqual(["ptq"]);
  });
});

test("runs on the same model and data measure widths once", async () => {
  const known: KnownResults = new Map();
  let measured = 0;
  const onProgress = ({ phase, done }: { readonly phase: string; readonly done: number }): void => {
    if (phase === "measure widths" && done === 1) measured++;
  };
  const widthsOf = async (methods: readonly unknown[], activations = 8) => {
    const quantize = { calibrationSamples: 32, activations, placement: "inputs" };
    const options = runOptions.parse({ quantize, methods: [{ "mixed-precision": { maxBits: 5 } }, ...methods] });
    const job = { model, source, preprocess: resolvePreprocess("none"), options, openDeployed };
    const run = await openRun(job, { engine: createReferenceEngine(), seed: 0, onProgress });
    return (await makeModel(run, known)).model.quantize.layers;
  };
  expect(await widthsOf(["ptq", "bias-correction"])).toEqual(await widthsOf(["ptq"]));
  expect(measured).toBe(1);
  await widthsOf(["ptq"], 4);
  expect(measured).toBe(2);
});
