import { expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { quantizeBytes } from "../../test/support/quantize-bytes.ts";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { tinyConvNet } from "../../test/support/tiny-models.ts";
import type { Share } from "../data/batches.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { addStatisticsLoss, checkMadeSamples, type MadeSamples, madeBatches } from "./made-samples.ts";

const engine = createReferenceEngine();
const epsilon = 1e-3;

/** Two convolutions, each with a normalization behind it that remembers drawn statistics. */
function normalized(): Graph {
  const random = createRandom(2);
  const build = buildOn();
  let y = build.input("x", { dtype: "float64", shape: ["N", 3, 6, 6] });
  for (const [from, to, name] of [
    [3, 4, "first"],
    [4, 5, "second"],
  ] as const) {
    const vector = (kind: string, low: number, high: number): string =>
      build.constant(random.uniformTensor("float64", [to], low, high), `${name}.${kind}`);
    const weight = build.constant(random.tensor("float64", [to, from, 3, 3]), `${name}.weight`);
    const conv = build.node("Conv", [y, weight], {}, name);
    const parameters = [
      vector("gamma", 0.5, 1.5),
      vector("beta", -1, 1),
      vector("mean", -2, 2),
      vector("variance", 1, 9),
    ];
    y = build.node("Relu", [build.node("BatchNormalization", [conv, ...parameters], { epsilon })]);
  }
  return build.graph([y]);
}

const graph = normalized();

/** By plain loops: Σ of the mean over channels of (μ − mean)² + (√(σ² + ε) − √(variance + ε))². */
async function lossOf(inputs: ReadonlyMap<string, Tensor>): Promise<number> {
  const norms = graph.nodes.filter(({ op }) => op === "BatchNormalization");
  const values = await runGraph(engine, { ...graph, outputs: norms.map((node) => node.inputs[0]) }, inputs);
  let loss = 0;
  for (const {
    inputs: [x, , , mean, variance],
  } of norms) {
    const { shape } = values.get(x) as Tensor;
    const numbers = numbersOf(values.get(x) as Tensor);
    const [means, variances] = [mean, variance].map((name) => numbersOf(graph.constants.get(name) as Tensor));
    const [, channels, height, width] = shape;
    for (let c = 0; c < channels; c++) {
      const own = Array.from(numbers).filter((_, i) => Math.floor(i / (height * width)) % channels === c);
      const mu = own.reduce((sum, value) => sum + value, 0) / own.length;
      const spread = own.reduce((sum, value) => sum + (value - mu) ** 2, 0) / own.length;
      const wider = Math.sqrt(spread + epsilon) - Math.sqrt(variances[c] + epsilon);
      loss += ((mu - means[c]) ** 2 + wider ** 2) / channels;
    }
  }
  return loss;
}

async function made(change: Partial<MadeSamples>, seed = 0): Promise<readonly ReadonlyMap<string, Tensor>[]> {
  const settings = { source: "distilled", count: 17, batchSize: 8, iterations: 60, ...change } as const;
  const batches = await madeBatches(graph, settings, { engine, seed });
  const collected = async (part?: Share): Promise<readonly ReadonlyMap<string, Tensor>[]> => {
    const found: ReadonlyMap<string, Tensor>[] = [];
    for await (const batch of batches(part)) found.push(batch);
    return found;
  };
  const found = await collected();
  expect(await collected()).toEqual(found);
  // Of two processes, each gives its part of them.
  const parts = [await collected({ rank: 0, size: 2 }), await collected({ rank: 1, size: 2 })];
  expect(parts.map(({ length }) => length)).toEqual([1, 1]);
  expect(parts.flat()).toEqual(found);
  return found;
}

test("what distillation lessens is the distance to the remembered statistics", async () => {
  const inputs = new Map([["x", createRandom(5).tensor("float64", [8, 3, 6, 6])]]);
  const build = buildOn(setBatchSize(graph, 8));
  const loss = addStatisticsLoss(build, graph);
  const found = (await runGraph(engine, build.graph([loss]), inputs)).get(loss) as Tensor;
  expectClose(found, tensorOf("float64", [], [await lossOf(inputs)]));
});

test("distilled samples come near them from noise, in whole batches, the same for a seed", async () => {
  const [noise, distilled] = [await made({ source: "noise" }), await made({})];
  expect(distilled.map((batch) => batch.get("x")?.shape)).toEqual([
    [8, 3, 6, 6],
    [8, 3, 6, 6],
  ]);
  for (const [i, batch] of distilled.entries())
    expect(await lossOf(batch)).toBeLessThan(0.05 * (await lossOf(noise[i])));
  expect(await made({})).toEqual(distilled);
  expect(await made({}, 1)).not.toEqual(distilled);
});

test("noise is standard normal, and other in each batch", async () => {
  const [first, second] = (await made({ source: "noise", count: 1200, batchSize: 600 })).map((batch) =>
    Array.from(numbersOf(batch.get("x") as Tensor)),
  );
  const momentOf = (power: number): number => first.reduce((sum, x) => sum + x ** power, 0) / first.length;
  const moments = [1, 2, 3, 4].map(momentOf);
  // Of 64,800 values the standard error of the fourth moment, 3, is 0.04.
  [0, 1, 0, 3].forEach((moment, i) => {
    expect(Math.abs(moments[i] - moment)).toBeLessThan(0.12);
  });
  const product = first.reduce((sum, x, i) => sum + x * second[i], 0) / first.length;
  expect(Math.abs(product)).toBeLessThan(0.02);
});

test("models for which no samples can be made are refused", () => {
  const build = buildOn();
  const weight = build.constant(createRandom(1).tensor("float32", [4, 3]), "w");
  const plain = build.graph([build.node("MatMul", [build.input("x", { dtype: "float32", shape: ["N", 4] }), weight])]);
  checkMadeSamples(plain, "noise");
  expect(() => checkMadeSamples(plain, "distilled")).toThrow(
    "calibration is distilled, and the model has no batch norm",
  );
  const tokens = buildOn();
  const ids = tokens.input("ids", { dtype: "int64", shape: ["N", 4] });
  const embedded = tokens.node("Gather", [tokens.constant(createRandom(1).tensor("float32", [9, 4])), ids]);
  expect(() => checkMadeSamples(tokens.graph([embedded]), "noise")).toThrow('input "ids" takes no floats');
});

test("with distilled samples, and ranges by them, the file does not depend on the data", async () => {
  const run = async (seed: number, calibration: string) => {
    const images = new Map([["input", createRandom(seed).tensor("float32", [32, 3, 16, 16])]]);
    const settings = { iterations: 8, roundingSamples: 16, batch: 8, calibration, distillIterations: 4 };
    const quantize = { weights: 3, activations: 4, calibrationSamples: 8 };
    const options = { quantize, methods: [{ qdrop: settings }] } as const;
    return (await quantizeBytes(tinyConvNet({ size: 16 }), images, options)).bytes;
  };
  const distilled = await run(9, "distilled");
  expect(await run(10, "distilled")).toEqual(distilled);
  expect(await run(9, "data")).not.toEqual(distilled);
});
