// Batch normalizations whose statistics are computed by nodes: they are not running ones, and nothing else may take them for constants.
import { describe, expect, test } from "vitest";
import type { Batch } from "../../src/data/batches.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { numbersOf, scalar, type Tensor } from "../../src/ir/tensor.ts";
import { verifyGraph } from "../../src/ir/verify.ts";
import { correctBiases } from "../../src/methods/bias-correction/correct-biases.ts";
import { equalizeLayers } from "../../src/methods/cross-layer-equalization/equalize-layers.ts";
import { trainEverything } from "../../src/methods/train-everything.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { runningStatistics } from "../../src/passes/train-batch-norm.ts";
import { foldQuantizers } from "../../src/quantizers/fold.ts";
import { trainingOptions } from "../../src/training/options.ts";
import { reestimateStatistics } from "../../src/training/reestimate-statistics.ts";
import { trainByPlan } from "../../src/training/train-by-plan.ts";
import { expectClose } from "../support/close.ts";
import { runGraph } from "../support/run-graph.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../support/tiny-classifier.ts";

const context = { engine: createReferenceEngine(), seed: 0 };
const size = 8;

/** The classifier whose second normalization reads what `compute` makes of its input and its own statistics. */
function withComputed(
  graph: Graph,
  compute: (build: ReturnType<typeof buildOn>, x: string, statistics: readonly string[]) => readonly [string, string],
): Graph {
  const at = graph.nodes.findIndex(({ name }) => name === "bn2");
  const norm = graph.nodes[at];
  const build = buildOn({ ...graph, nodes: graph.nodes.slice(0, at) });
  const computed = compute(build, norm.inputs[0], norm.inputs.slice(3, 5));
  const before = build.graph([]);
  const nodes = [...before.nodes, { ...norm, inputs: [...norm.inputs.slice(0, 3), ...computed] }];
  return verifyGraph({ ...before, nodes: [...nodes, ...graph.nodes.slice(at + 1)], outputs: graph.outputs });
}

/** The batch's own mean and biased variance, of nodes. */
const ofBatch = (graph: Graph): Graph =>
  withComputed(graph, (build, x) => {
    const axes = build.ints([0, 2, 3]);
    const mean = build.node("ReduceMean", [x, axes], { keepdims: 1 });
    const centred = build.node("Sub", [x, mean]);
    const variance = build.node("ReduceMean", [build.node("Mul", [centred, centred]), axes], { keepdims: 0 });
    return [build.node("Squeeze", [mean, axes]), variance];
  });

/** Each statistic times a number that the input decides: no longer a constant, and read by this normalization alone. */
const ofInput = (graph: Graph): Graph =>
  withComputed(graph, (build, _, [mean, variance]) => {
    const image = build.node("ReduceMax", ["input"], { keepdims: 0 });
    const near = build.node("Clip", [image, build.scalar(0.9, image), build.scalar(1.1, image)]);
    return [build.node("Mul", [mean, near]), build.node("Mul", [variance, near])];
  });

async function* batches(): AsyncGenerator<Batch> {
  for (let index = 0; ; index++) {
    const { images, labels } = tinyBatch("float64", size, index);
    yield { index, indices: new Int32Array(size), inputs: new Map([["input", images]]), labels };
  }
}

const trained = (model: Graph): Promise<Graph> =>
  trainByPlan(
    {
      model,
      options: trainingOptions.parse({ batch: size, lr: 0.05 }),
      plan: trainEverything(model),
      steps: 3,
      batches,
    },
    context,
  ).then((result) => result.model);

const outputOf = async (graph: Graph, images: Tensor): Promise<Tensor> =>
  (await runGraph(context.engine, graph, new Map([["input", images]]))).get(graph.outputs[0]) ??
  scalar("float64", Number.NaN);

describe("a normalization whose statistics nodes compute", () => {
  test("trains as one by the batch's statistics where it computes those", async () => {
    const plain = tinyClassifier();
    const computed = ofBatch(plain);
    expect(new Set(runningStatistics(computed))).toEqual(new Set(["bn1.running_mean", "bn1.running_var"]));
    const [expected, found] = [await trained(plain), await trained(computed)];
    for (const name of ["conv1.weight", "conv2.weight", "bn2.weight", "bn2.bias", "bn1.running_var", "linear.weight"])
      expectClose(numbersOf(found.constants.get(name) as Tensor), numbersOf(expected.constants.get(name) as Tensor), {
        widen: { factor: 100, because: "three steps through statistics summed in another order" },
      });
  });

  test("keeps its computed statistics", async () => {
    const model = ofInput(tinyClassifier());
    const { images } = tinyBatch("float64", size, 1);
    async function* given(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
      yield new Map([["input", images]]);
    }
    const again = await reestimateStatistics(model, size, given(), size, context);
    expect(again.constants.get("bn2.running_mean")).toBe(model.constants.get("bn2.running_mean"));
    expect(again.constants.get("bn1.running_mean")).not.toEqual(model.constants.get("bn1.running_mean"));
  });

  test.each([
    ["the batch alone", ofBatch],
    ["constants and the input", ofInput],
  ])("stays where layers are folded, equalized and corrected: of %s", async (_, compute) => {
    const float = compute(tinyClassifier());
    const model = compute(quantizeTiny(tinyClassifier(), { weights: 8 }));
    const { images } = tinyBatch("float64", size, 5);
    const folded = foldQuantizers(model, "float").graph;
    expect(folded.nodes.filter(({ op }) => op === "BatchNormalization")).toHaveLength(1);
    expectClose(await outputOf(folded, images), await outputOf(model, images), {
      widen: { factor: 100, because: "the first normalization's factor is applied to scales instead of sums" },
    });
    expectClose(await outputOf(equalizeLayers(float).graph, images), await outputOf(float, images), {
      widen: { factor: 100, because: "factors are multiplied out" },
    });
    async function* given(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
      yield new Map([["input", images]]);
    }
    const corrected = await correctBiases(model, float, given, context);
    expect(corrected.constants.get("bn2.running_mean")).toEqual(model.constants.get("bn2.running_mean"));
  });
});
