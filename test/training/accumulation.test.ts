// Batches in micro-batches, clipping, frozen statistics: against whole steps and closed forms.
import { describe, expect, test } from "vitest";
import type { Batch } from "../../src/data/batches.ts";
import type { Engine } from "../../src/engines/engine.ts";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { DType } from "../../src/ir/dtype.ts";
import { numbersOf, scalar, type Tensor, tensorOf, toNumbers } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { labelsInput } from "../../src/training/loss.ts";
import { trainingOptions } from "../../src/training/options.ts";
import { type PartValues, takeValues, valueIn, valuesFor } from "../../src/training/part-values.ts";
import {
  buildPlannedStep,
  learningRateInput,
  type PlannedStepOptions,
  qparamLearningRateInput,
} from "../../src/training/planned-step.ts";
import { trainByPlan } from "../../src/training/train-by-plan.ts";
import { treeSum } from "../../src/training/tree-sum.ts";
import { expectClose } from "../support/close.ts";
import { isNativeBuilt } from "../support/native.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../support/tiny-classifier.ts";

const reference = createReferenceEngine();
const whole = 8;
const rows = new Map([
  ["conv1.weight", [1, 4]],
  ["conv2.weight", []],
  ["linear.weight", [0, 3]],
]);
const byRows = new Map([...rows.keys()].map((weight) => [weight, "rows" as const]));

/** The variables after some steps of a batch of 8, in micro-batches. */
async function trained(
  dtype: DType,
  engine: Engine,
  trial: Partial<PlannedStepOptions>,
  steps = 2,
): Promise<ReadonlyMap<string, Tensor>> {
  const { microBatches = 1 } = trial;
  const model = quantizeTiny(tinyClassifier(dtype), { weights: 4, activations: 8 });
  const optimizer = { kind: "sgd", momentum: 0.9, weightDecay: 1e-4 } as const;
  const step = buildPlannedStep(model, {
    batchSize: whole / microBatches,
    loss: "cross-entropy",
    optimizer,
    plan: new Map(),
    freezesStatistics: true,
    ...trial,
  });
  const variables = await engine.variables(step.initial);
  const program = (await engine.compile(step.graph)).bind(variables);
  const apply = step.apply && (await engine.compile(step.apply)).bind(variables);
  const { images, labels } = tinyBatch(dtype, whole);
  const rest = new Map([
    [learningRateInput, scalar(dtype, 0.1)],
    [qparamLearningRateInput, scalar(dtype, 1e-3)],
    ...[...step.rowInputs].map(([weight, input]) => {
      const list = rows.get(weight) ?? [];
      return [input, tensorOf("int64", [list.length], list)] as const;
    }),
  ]);
  const takenBy = (names: readonly string[], all: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor> =>
    new Map([...all].filter(([name]) => names.includes(name)));
  const runPart = async (index: number): Promise<PartValues> => {
    const piece = (value: Tensor): Tensor => {
      const [samples, ...shape] = value.shape;
      const length = value.data.length / microBatches;
      const data = value.data.slice(index * length, (index + 1) * length);
      return { dtype: value.dtype, shape: [samples / microBatches, ...shape], data };
    };
    const samples = [
      ["input", piece(images)],
      [labelsInput, piece(labels)],
    ] as const;
    const inputs = takenBy(step.graph.inputs, new Map([...rest, ...samples]));
    const values = valuesFor(step, inputs, []);
    takeValues(values, step, index, await program.run(inputs));
    return values;
  };
  for (let index = 0; index < steps; index++) {
    const sums = await treeSum(0, microBatches, { run: runPart, release: () => undefined });
    const summed = step.summed.map(({ output, input }) => [input, valueIn(sums, output)] as const);
    await apply?.run(takenBy(step.apply?.inputs ?? [], new Map([...rest, ...summed])));
  }
  const result = new Map<string, Tensor>();
  for (const name of variables.names()) result.set(name, await variables.read(name));
  return result;
}

const plans: readonly (readonly [string, PlannedStepOptions["plan"]])[] = [
  ["all rows", new Map()],
  ["some rows", byRows],
];

describe("gradient accumulation", () => {
  test.each(plans)("two or four micro-batches are the whole batch, %s training", async (_, plan) => {
    const expected = await trained("float64", reference, { plan });
    for (const microBatches of [2, 4]) {
      const actual = await trained("float64", reference, { plan, microBatches });
      for (const [name, value] of expected) expectClose(actual.get(name) ?? value, value, { what: name });
    }
  });

  test("what the loss does not depend on stays as it is, decay or not", () => {
    const build = buildOn(tinyClassifier());
    const weight = build.constant(tensorOf("float64", [2, 4], [1, 2, 3, 4, 5, 6, 7, 8]), "other.weight");
    build.node("Gemm", ["logits", weight], { transB: 1 }, "other");
    const optimizer = { kind: "sgd", momentum: 0.9, weightDecay: 0.5 } as const;
    const options = { batchSize: 4, loss: "cross-entropy", optimizer, plan: new Map() } as const;
    const step = buildPlannedStep(build.graph(["logits"]), options);
    const { apply } = buildPlannedStep(build.graph(["logits"]), { ...options, microBatches: 2 });
    for (const graph of [step.graph, apply])
      expect([graph?.updates.has("linear.weight"), graph?.updates.has("other.weight")]).toEqual([true, false]);
  });

  const engines = [createOnnxRuntimeEngine(), ...(isNativeBuilt ? [createNativeEngine()] : [])];
  test.each(engines)("the $name engine adds micro-batches up as the reference engine does", async (engine) => {
    const expected = await trained("float64", reference, { plan: byRows, microBatches: 2 }, 1);
    const actual = await trained("float32", engine, { plan: byRows, microBatches: 2 }, 1);
    const widen = { factor: 2000, because: "gradients of a whole network are summed in float32" };
    for (const name of ["conv1.weight/velocity", "linear.weight/velocity", "bn1.bias/velocity", "linear.bias"])
      expectClose(
        actual.get(name) ?? scalar("float32", 0),
        Array.from(numbersOf(expected.get(name) ?? scalar("float32", 1))),
        {
          as: "float32",
          widen,
          what: name,
        },
      );
  });
});

describe("clipping by norm", () => {
  const norm = (values: ReadonlyMap<string, Tensor>): number => {
    const velocities = [...values].filter(([name]) => name.endsWith("/velocity"));
    return Math.hypot(...velocities.flatMap(([, value]) => Array.from(numbersOf(value))));
  };
  const optimizer = { kind: "sgd", momentum: 0, weightDecay: 0 } as const;

  test("gradients that are longer are scaled to the norm, the others left alone", async () => {
    const free = await trained("float64", reference, { optimizer }, 1);
    const length = norm(free);
    const clipped = await trained("float64", reference, { optimizer, clipNorm: length / 4 }, 1);
    expect(norm(clipped) / (length / 4)).toBeCloseTo(1, 5);
    const name = "conv2.weight/velocity";
    const share =
      numbersOf(clipped.get(name) ?? scalar("float64", 0))[5] / numbersOf(free.get(name) ?? scalar("float64", 0))[5];
    expect(share).toBeCloseTo(0.25, 5);
    const wide = await trained("float64", reference, { optimizer, clipNorm: 2 * length }, 1);
    expect(wide.get(name)?.data).toEqual(free.get(name)?.data);
  });

  test("gradients of qparams are not clipped", async () => {
    const free = await trained("float64", reference, {}, 1);
    const clipped = await trained("float64", reference, { clipNorm: 1e-6 }, 1);
    const name = "conv2.input_scale/first_moment";
    expect(clipped.get(name)?.data).toEqual(free.get(name)?.data);
  });
});

test("frozen statistics stay as they are, and are what normalizes", async () => {
  const name = "bn1.running_mean";
  const start = tinyClassifier().constants.get(name)?.data;
  expect((await trained("float64", reference, { freezesStatistics: true })).get(name)?.data).toEqual(start);
  expect((await trained("float64", reference, { freezesStatistics: false })).get(name)?.data).not.toEqual(start);
});

test("running statistics follow the micro-batches in their order, as steps of that size do", async () => {
  const model = quantizeTiny(tinyClassifier("float32"));
  const [count, size] = [4, 2];
  async function* batches(samples: number): AsyncGenerator<Batch> {
    for (let index = 0; ; index++) {
      const parts = Array.from({ length: samples / size }, (_, i) =>
        tinyBatch("float32", size, (index * samples) / size + i),
      );
      const joined = (of: "images" | "labels"): Tensor => {
        const { dtype, shape } = parts[0][of];
        const values = parts.flatMap((part) => toNumbers(part[of]));
        return tensorOf(dtype, [samples, ...shape.slice(1)], values);
      };
      const inputs = new Map([["input", joined("images")]]);
      yield { index, indices: new Int32Array(samples), inputs, labels: joined("labels") };
    }
  }
  const run = (batch: number, steps: number, accumulate: number) => {
    const options = trainingOptions.parse({ batch, accumulate, lr: 1e-30, qparamLr: 0, freezeStatistics: 1 });
    const plan = { refreshEvery: Number.POSITIVE_INFINITY, select: () => new Map() };
    const job = { model, options, plan, steps, batches: () => batches(batch) };
    return trainByPlan(job, { engine: reference, seed: 0 });
  };
  const [{ model: together, losses }, inTurn] = [await run(count * size, 2, count), await run(size, 2 * count, 1)];
  for (const name of ["bn1.running_mean", "bn1.running_var"]) {
    const [actual, expected, start] = [together, inTurn.model, model].map(({ constants }) => constants.get(name));
    expectClose(actual ?? scalar("float32", 0), Array.from(numbersOf(expected ?? scalar("float32", 1))), {
      as: "float32",
      what: name,
    });
    expect(expected?.data).not.toEqual(start?.data);
  }
  const mean = inTurn.losses.slice(0, count).reduce((sum, loss) => sum + loss) / count;
  expect(losses[0]).toBeCloseTo(mean, 5);
});
