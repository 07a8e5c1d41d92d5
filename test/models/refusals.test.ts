// What has no gradient is refused in one message that names all of it; what needs none is not.
import { describe, expect, test } from "vitest";
import { memoryDataset } from "../../src/data/memory-dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import type { Engine } from "../../src/engines/engine.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { FrostbitError } from "../../src/ir/errors.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { tensorOf } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { runOptions } from "../../src/options/recipe.ts";
import { quantizeModel } from "../../src/quantize/quantize-model.ts";
import { labelsInput } from "../../src/training/loss.ts";
import { buildPlannedStep } from "../../src/training/planned-step.ts";
import { origin } from "../support/export-quantized.ts";
import { createRandom } from "../support/random.ts";

type Build = ReturnType<typeof buildOn>;

/** x [N, 6] → product, whatever `between` adds, product → logits [N, 4] */
function model(between: (build: Build, hidden: string) => string): Graph {
  const random = createRandom(31);
  const build = buildOn();
  const x = build.input("input", { dtype: "float32", shape: ["N", 6] });
  const hidden = build.node(
    "MatMul",
    [x, build.constant(random.tensor("float32", [6, 8]), "first.weight")],
    {},
    "first",
  );
  const last = build.constant(random.tensor("float32", [8, 4]), "last.weight");
  return build.graph([build.node("MatMul", [between(build, hidden), last], {}, "logits")]);
}

const stepOf = (graph: Graph) =>
  buildPlannedStep(graph, {
    batchSize: 2,
    loss: "cross-entropy",
    optimizer: { kind: "sgd", momentum: 0, weightDecay: 0 },
    plan: new Map(),
  });

function refusalOf(graph: Graph): string {
  try {
    stepOf(graph);
  } catch (error) {
    if (!(error instanceof FrostbitError)) throw error;
    expect(error.code).toBe("NO_GRADIENT");
    return error.message;
  }
  return expect.fail("the step was built");
}

const floorAndRound = (build: Build, hidden: string): string =>
  build.node("Round", [build.node("Floor", [hidden], {}, "floor")], {}, "round");

/** Sequences of any length: x [N, T, 6] → product, whatever `between` adds, product → the mean over T, logits [N, 4] */
function sequenceModel(between: (build: Build, hidden: string) => string): Graph {
  const random = createRandom(32);
  const build = buildOn();
  const weight = (shape: readonly number[], name: string): string =>
    build.constant(random.tensor("float32", shape), name);
  const x = build.input("input", { dtype: "float32", shape: ["N", "T", 6] });
  const hidden = build.node("MatMul", [x, weight([6, 8], "first.weight")], {}, "first");
  const scores = build.node("MatMul", [between(build, hidden), weight([8, 4], "last.weight")], {}, "last");
  return build.graph([build.node("ReduceMean", [scores, build.ints([1])], { keepdims: 0 }, "logits")]);
}

/** Quantizes and trains; how many graphs were compiled until it ended. */
async function trainOnSequences(graph: Graph): Promise<{ compiled: number; error: unknown }> {
  const reference = createReferenceEngine();
  let compiled = 0;
  const engine: Engine = {
    ...reference,
    compile: (...given) => {
      compiled++;
      return reference.compile(...given);
    },
  };
  const data = (seed: number) => {
    const labels = tensorOf(
      "int64",
      [8],
      Array.from({ length: 8 }, (_, i) => i % 4),
    );
    return memoryDataset("sequences", new Map([["input", createRandom(seed).tensor("float32", [8, 5, 6])]]), labels);
  };
  try {
    await quantizeModel(
      {
        model: { graph, origin },
        source: { train: data(1), test: data(2), heldOut: false },
        preprocess: resolvePreprocess("none"),
        options: runOptions.parse({ methods: [{ qat: { batch: 4, steps: 1 } }] }),
        openDeployed: (file) => openDeployed(file, { threads: 1 }),
      },
      { engine, seed: 0 },
    );
  } catch (error) {
    return { compiled, error };
  }
  return { compiled, error: undefined };
}

describe("with a symbolic length, which the data gives", () => {
  test("what has no gradient is refused before anything is computed", async () => {
    const { compiled, error } = await trainOnSequences(sequenceModel(floorAndRound));
    expect(error).toMatchObject({ code: "NO_GRADIENT" });
    expect(String(error)).toContain('Floor (node "floor"), Round (node "round"): no gradient exists');
    expect(compiled).toBe(0);
  });

  test("a reduction over it trains where the operators between have gradients", async () => {
    const { compiled, error } = await trainOnSequences(sequenceModel((build, hidden) => build.node("Relu", [hidden])));
    expect(error).toBeUndefined();
    expect(compiled).toBeGreaterThan(0);
  });
});

describe("operators without a gradient", () => {
  test("between the loss and trained weights are refused, all in one message", () => {
    const message = refusalOf(model(floorAndRound));
    expect(message).toContain('Floor (node "floor"), Round (node "round"): no gradient exists');
    expect(message).toContain("they are between the loss and 2 trained values");
  });

  test("before everything that trains are not an obstacle", () => {
    const build = buildOn();
    const x = build.input("input", { dtype: "float32", shape: ["N", 6] });
    const weight = build.constant(tensorOf("float32", [6, 4], new Float32Array(24)), "weight");
    const logits = build.node("MatMul", [build.node("Round", [x]), weight]);
    expect(stepOf(build.graph([logits])).graph.inputs).toContain(labelsInput);
  });

  test("that only make a mask are not an obstacle", () => {
    const graph = model((build, hidden) => {
      const isPositive = build.node("Greater", [hidden, build.scalar(0)], {}, "positive");
      return build.node("Where", [isPositive, hidden, build.node("Mul", [hidden, build.scalar(0.1)])]);
    });
    expect([...stepOf(graph).graph.updates.keys()]).toEqual(expect.arrayContaining(["first.weight", "last.weight"]));
  });

  test("that make a mask are refused where it is all that a weight has to do with the loss", () => {
    const graph = model((build, hidden) => {
      const isPositive = build.node("Greater", [hidden, build.scalar(0)], {}, "positive");
      return build.node("Cast", [isPositive], { to: "float32" });
    });
    expect(refusalOf(graph)).toContain(
      'Greater (node "positive"): no gradient exists, and it is between the loss and 1',
    );
  });
});
