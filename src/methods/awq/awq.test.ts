import { expect, test } from "vitest";
import { quantizeBytes } from "../../../test/support/quantize-bytes.ts";
import { createRandom } from "../../../test/support/random.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import { tinyOrigin } from "../../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import type { Graph } from "../../ir/graph.ts";
import { roundHalfToEven } from "../../ir/round.ts";
import { numbersOf, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { writeOnnx } from "../../onnx/write.ts";
import { buildOn } from "../../ops/infer.ts";
import { runOptions } from "../../options/recipe.ts";
import { smoothPlaces } from "../../quantizers/smooth-layers.ts";
import { searchFactors } from "./search-factors.ts";

const channels = 16;
const rows = 12;
const powers = 8;
const inputs = new Map([["x", createRandom(3).tensor("float32", [16, 5, channels])]]);

/** Two products read a normalization whose channels differ in size. */
function twoProducts(): Graph {
  const random = createRandom(5);
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 5, channels] });
  const sizes = Array.from({ length: channels }, (_, c) => (c % 5 === 2 ? 20 : 1 + c / channels));
  const gamma = build.constant(tensorOf("float32", [channels], sizes), "gamma");
  const norm = build.node("RMSNormalization", [x, gamma], { axis: -1 }, "norm");
  const product = (name: string): string =>
    build.node(
      "MatMul",
      [norm, build.constant(random.uniformTensor("float32", [channels, rows], -1, 1), `${name}.weight`)],
      {},
      name,
    );
  return build.graph([build.node("Mul", [build.node("Relu", [product("up")]), product("gate")])]);
}

const graph = twoProducts();
const seen = numbersOf(
  (await runGraph(createReferenceEngine(), { ...graph, outputs: ["norm"] }, inputs)).get("norm") as Tensor,
);
const weightOf = (name: string): ArrayLike<number> => numbersOf(graph.constants.get(`${name}.weight`) as Tensor);

/** s = mean|x|^α / √(max s · min s) */
function factorsAt(power: number): number[] {
  const means = Array.from({ length: channels }, (_, c) => {
    const column = Array.from(seen).filter((_, i) => i % channels === c);
    return column.reduce((sum, value) => sum + Math.abs(value), 0) / column.length;
  });
  const raw = means.map((mean) => mean ** power);
  return raw.map((s) => s / Math.sqrt(Math.max(...raw) * Math.min(...raw)));
}

/** Σ‖(Q(W s) / s − W) x‖², sample by sample; Q is symmetric by output channel, its largest magnitude the last level. */
function errorAt(weight: ArrayLike<number>, factors: readonly number[], bits: number): number {
  const last = 2 ** (bits - 1) - 1;
  const changed = Array.from({ length: rows }, (_, row) => {
    const scaled = factors.map((s, c) => weight[c * rows + row] * s);
    const scale = Math.max(...scaled.map(Math.abs)) / last;
    return scaled.map((w, c) => (roundHalfToEven(w / scale) * scale) / factors[c] - weight[c * rows + row]);
  });
  let error = 0;
  for (let at = 0; at < seen.length; at += channels)
    for (const change of changed) error += change.reduce((sum, d, c) => sum + d * seen[at + c], 0) ** 2;
  return error;
}

test("the exponent is that of the least error of the outputs, by plain sums over all samples", async () => {
  const expected = Array.from({ length: powers }, (_, i) => i / powers).map((power) => {
    const factors = factorsAt(power);
    return { factors, error: errorAt(weightOf("up"), factors, 4) + errorAt(weightOf("gate"), factors, 4) };
  });
  const best = expected.reduce((least, each) => (each.error < least.error ? each : least));
  expect(best.error).toBeLessThan(0.7 * expected[0].error);
  const { quantize } = runOptions.parse({
    quantize: { weights: 4, activations: "float", asymmetricWeights: false },
    methods: ["ptq"],
  });
  const places = smoothPlaces(graph);
  const batches = async function* (): AsyncGenerator<typeof inputs> {
    yield inputs;
  };
  const job = { graph, quantize, places, batches, powers };
  const found = await searchFactors(job, { engine: createReferenceEngine(), seed: 0 });
  const factors = found.get(places[0]);
  best.factors.forEach((factor, c) => {
    expect(factors?.[c]).toBeCloseTo(factor, 5);
  });
});

test("a model whose weights stay in float is left as it is", async () => {
  const { quantize } = runOptions.parse({ quantize: { layers: { "*": "float" } }, methods: ["ptq"] });
  const job = {
    graph,
    quantize,
    places: smoothPlaces(graph),
    batches: async function* () {
      yield inputs;
    },
    powers,
  };
  expect(await searchFactors(job, { engine: createReferenceEngine(), seed: 0 })).toEqual(new Map());
});

test("in 4 bits less is lost, in the file that is written", async () => {
  const bytes = writeOnnx({ graph, origin: tinyOrigin }, { opset: 23 });
  const run = async (methods: readonly string[]): Promise<number> =>
    (await quantizeBytes(bytes, inputs, { quantize: { weights: 4, activations: "float" }, methods })).outputs[0].sqnrDb;
  expect(await run(["awq"])).toBeGreaterThan((await run([])) + 1.5);
});
