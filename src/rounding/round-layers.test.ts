import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { runGraph } from "../../test/support/gradient-check.ts";
import { inMemoryCommunicators } from "../../test/support/in-memory-ranks.ts";
import { errorsByRow, multiply } from "../../test/support/moments.ts";
import { createRandom } from "../../test/support/random.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { partOf, type Share } from "../data/batches.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { kernels } from "../kernels/index.ts";
import { gptq } from "../methods/gptq/gptq.ts";
import { buildOn } from "../ops/infer.ts";
import { foldQuantizers } from "../quantizers/fold.ts";
import { quantizersOf } from "../quantizers/quantizer.ts";
import type { Progress } from "../run/context.ts";
import { constantOf, dequantize, nearestIntegers } from "./grid.ts";
import { type MomentsOptions, momentsOptions } from "./options.ts";
import type { RoundingProblem, RoundingSolver } from "./problem.ts";
import { type Rounded, roundLayers } from "./round-layers.ts";
import { anyScale } from "./search-ranges.ts";

const notes: string[] = [];
const context = { engine: createReferenceEngine(), seed: 0, onNote: (note: string) => notes.push(note) };
const inputs = [1, 2, 3].map((seed) => tinyBatch("float64", 8, seed).images);
async function* batches(part?: Share): AsyncGenerator<ReadonlyMap<string, Tensor>> {
  for (const images of inputs.slice(...partOf(inputs.length, part))) yield new Map([["input", images]]);
}
const options = momentsOptions.parse({ positions: 1000, roundingSamples: 24 });
const float = tinyClassifier();
const quantized = quantizeTiny(float, { weights: 3, activations: 4 });

const round = (graph: Graph, solve: RoundingSolver, more: Partial<MomentsOptions> = {}): Promise<Rounded> =>
  roundLayers(
    { quantized: graph, float, batches, options: { ...options, ...more }, search: undefined, solve },
    context,
  );

/** Nearest integers, some of them moved by one. */
function moved({ quotients, grid }: RoundingProblem, seed: number): Float64Array {
  const random = createRandom(seed);
  return nearestIntegers(quotients, grid).map((q) =>
    Math.min(grid.high, Math.max(grid.low, q + random.integer(-1, 2))),
  );
}

/** Mean over samples and positions of the squared difference of two graphs' values, by channel. */
function differences(a: Graph, b: Graph, value: string, channels: number): number[] {
  const sums = new Array<number>(channels).fill(0);
  let count = 0;
  for (const images of inputs) {
    const [x, y] = [a, b].map((graph) => runGraph(graph, new Map([["input", images]]), kernels).get(value));
    if (!x || !y) throw new Error(`no value ${value}`);
    const inner = x.shape.slice(2).reduce((product, size) => product * size, 1);
    numbersOf(x).forEach((element, i) => {
      sums[Math.floor(i / inner) % channels] += (element - numbersOf(y)[i]) ** 2;
    });
    count += x.data.length / channels;
  }
  return sums.map((sum) => sum / count);
}

const outputOf = (graph: Graph, name: string): string =>
  graph.nodes.find((node) => node.name === name)?.outputs[0] ?? "";

/** Without the quantizers of activations, or without any. */
function withoutQuantizers(graph: Graph, which: "activations" | "all"): Graph {
  const source = new Map(
    graph.nodes
      .filter(({ op, inputs: [x] }) => op === "FakeQuantize" && (which === "all" || !graph.constants.has(x)))
      .map(({ outputs: [y], inputs: [x] }) => [y, x]),
  );
  const reroute = (input: string): string => source.get(input) ?? input;
  return { ...graph, nodes: graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map(reroute) })) };
}

/** What the moments of a layer are about: the layers before as the stream has them, the layer itself rounded. */
function measured(rounded: Graph, weight: string, stream: "quantized" | "weights" | "float"): Graph {
  if (stream === "quantized") return rounded;
  if (stream === "weights") return withoutQuantizers(rounded, "activations");
  const own = rounded.constants.get(weight);
  if (!own) throw new Error(`no weight ${weight}`);
  return { ...float, constants: new Map([...float.constants, [weight, own]]) };
}

const layers = [
  ["conv1", "conv1.weight", 6],
  ["conv2", "conv2.weight", 6],
  ["logits", "linear.weight", 4],
] as const;

const byActivations = { roundingOrder: "activations", damping: 0.01, reconstruct: "weights" } as const;

describe("rounding layer after layer", () => {
  test.each(["quantized", "weights", "float"] as const)(
    "each layer sees those before it, stream %s",
    async (stream) => {
      const found: Float64Array[] = [];
      const { graph, layers: results } = await round(
        quantized,
        async (problem) => {
          const integers = await gptq(problem, byActivations, multiply);
          found.push(errorsByRow(problem.moments, dequantize(problem.grid, integers)));
          return integers;
        },
        { stream },
      );
      expect(results.map(({ kept }) => kept)).toEqual(["chosen", "chosen", "chosen"]);
      layers.forEach(([name, weight, channels], i) => {
        const expected = differences(measured(graph, weight, stream), float, outputOf(float, name), channels);
        expectClose(found[i], expected, {
          widen: { factor: 1000, because: "the error is what is left of three sums" },
        });
      });
    },
  );

  test("what is folded for export are the integers chosen, with the normalization's sign", async () => {
    const chosen: Float64Array[] = [];
    const { graph } = await round(quantized, async (problem) => {
      const integers = await gptq(problem, { ...byActivations, roundingOrder: "natural" }, multiply);
      chosen.push(integers.map((q, i) => q * Math.sign(problem.factors[Math.floor(i / problem.form.columns)])));
      return integers;
    });
    const folded = foldQuantizers(graph, "float");
    const written = folded.layers.map(({ integers }) => Array.from(numbersOf(constantOf(folded.graph, integers))));
    expect(written).toEqual(chosen.map((integers) => Array.from(integers, (q) => q + 0)));
  });

  test("a layer that gets worse keeps nearest, and says so", async () => {
    notes.length = 0;
    const { graph, layers: results } = await round(quantized, (problem) => Promise.resolve(moved(problem, 3)));
    expect(results.map(({ kept }) => kept)).toEqual(["nearest", "nearest", "nearest"]);
    expect(notes[0]).toMatch(
      /^Layer "conv1" keeps its weights rounded to nearest: .* error of its output [\d.]+ times as large\.$/,
    );
    const folds = [graph, quantized].map((model) => foldQuantizers(model, "float"));
    const [kept, nearest] = folds.map((folded) =>
      folded.layers.map(({ integers }) => constantOf(folded.graph, integers)),
    );
    expect(kept).toEqual(nearest);
  });

  test("with ranges searched, each layer's error is less, what is folded are the integers, and other readers see no change", async () => {
    const build = buildOn(quantized);
    const { scale } = quantizersOf(quantized).find(({ value }) => value === "conv2.weight") ?? { scale: "" };
    const sum = build.node("ReduceSum", [scale], { keepdims: 0 });
    const shared = build.graph([...quantized.outputs, sum]);
    const chosen: Float64Array[] = [];
    const nearest = (problem: RoundingProblem): Promise<Float64Array> => {
      const integers = nearestIntegers(problem.quotients, problem.grid);
      chosen.push(integers.map((q, i) => q * Math.sign(problem.factors[Math.floor(i / problem.form.columns)])));
      return Promise.resolve(integers);
    };
    const { graph, layers: results } = await roundLayers(
      { quantized: shared, float, batches, options: { ...options, stream: "float" }, search: anyScale, solve: nearest },
      context,
    );
    for (const { chosen: error, nearest: before } of results) expect(error).toBeLessThan(before);
    const folded = foldQuantizers({ ...graph, outputs: quantized.outputs }, "float");
    const written = folded.layers.map(({ integers }) => Array.from(numbersOf(constantOf(folded.graph, integers))));
    expect(written).toEqual(chosen.map((integers) => Array.from(integers, (q) => q + 0)));
    const given = new Map([["input", inputs[0]]]);
    expect(runGraph(graph, given, kernels).get(sum)).toEqual(runGraph(shared, given, kernels).get(sum));
  });

  test.each([2, 4])("%i processes round as one does, each knowing the samples of its part alone", async (size) => {
    const images = Array.from({ length: 12 }, (_, seed) => tinyBatch("float64", 4, seed).images);
    const read: number[] = [];
    const job = (rank: number) => ({
      quantized,
      float,
      options,
      search: anyScale,
      solve: (problem: RoundingProblem) => gptq(problem, { ...byActivations, reconstruct: "outputs" }, multiply),
      batches: async function* (part?: Share) {
        const [first, end] = partOf(images.length, part);
        for (let i = first; i < end; i++) {
          read[rank] = (read[rank] ?? 0) + 1;
          yield new Map([["input", images[i]]]);
        }
      },
    });
    const one = await roundLayers(job(size), context);
    const ranks = await inMemoryCommunicators(size);
    const all = await Promise.all(
      ranks.map((communicator, rank) => roundLayers(job(rank), { ...context, communicator })),
    );
    for (const each of all) {
      expect(each.layers).toEqual(one.layers);
      expect(each.graph.constants).toEqual(one.graph.constants);
    }
    expect(read).toEqual([...ranks.map(() => images.length / size), images.length]);
  });

  test("each layer done is told, and a stop between two runs of a layer ends it", async () => {
    const told: string[] = [];
    const stop = new AbortController();
    const onProgress = ({ phase, done, total }: Progress): void => void told.push(`${phase} ${done}/${total}`);
    const solve = ({ quotients, grid }: RoundingProblem): Promise<Float64Array> => {
      if (told.at(-1) === "round weights 1/3") stop.abort();
      return Promise.resolve(nearestIntegers(quotients, grid));
    };
    const job = { quantized, float, batches, options, search: undefined, solve };
    const running = roundLayers(job, { ...context, onProgress, signal: stop.signal });
    await expect(running).rejects.toMatchObject({ code: "ABORTED" });
    expect(told).toEqual(["round weights 0/3", "round weights 1/3", "round weights 2/3"]);
  });

  test("a layer that gets worse keeps its ranges too", async () => {
    const solve = (problem: RoundingProblem): Promise<Float64Array> => Promise.resolve(moved(problem, 3));
    const { graph } = await roundLayers({ quantized, float, batches, options, search: anyScale, solve }, context);
    for (const { scale } of quantizersOf(quantized))
      expect(constantOf(graph, scale)).toBe(constantOf(quantized, scale));
  });

  test("what is quantized in the float model keeps its integers", async () => {
    const { graph, layers: results } = await roundLayers(
      {
        quantized,
        float: quantized,
        batches,
        options,
        search: anyScale,
        solve: (problem) => Promise.resolve(moved(problem, 3)),
      },
      context,
    );
    expect(results).toEqual([]);
    expect(graph).toBe(quantized);
  });

  test("what else reads a weight keeps reading it as it was", async () => {
    const build = buildOn(quantized);
    const sum = build.node("ReduceSum", ["linear.weight"], { keepdims: 0 });
    const shared = build.graph([...quantized.outputs, sum]);
    const solve = (problem: RoundingProblem): Promise<Float64Array> => gptq(problem, byActivations, multiply);
    const { graph } = await round(shared, solve);
    const alone = await round(quantized, solve);
    const given = new Map([["input", inputs[0]]]);
    expect(runGraph(graph, given, kernels).get(sum)).toEqual(runGraph(shared, given, kernels).get(sum));
    const [logits] = float.outputs;
    expect(runGraph(graph, given, kernels).get(logits)).toEqual(runGraph(alone.graph, given, kernels).get(logits));
  });
});
