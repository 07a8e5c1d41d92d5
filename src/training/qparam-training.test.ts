import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { isNativeBuilt } from "../../test/support/native.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import type { Engine } from "../engines/engine.ts";
import { createNativeEngine } from "../engines/native/native-engine.ts";
import { createOnnxRuntimeEngine } from "../engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { castTensor, numbersOf, scalar, type Tensor } from "../ir/tensor.ts";
import { castFloats } from "../passes/cast-floats.ts";
import { labelsInput } from "./loss.ts";
import { buildStep, learningRateInput, qparamLearningRateInput, type StepOptions } from "./step.ts";

const reference = createReferenceEngine();
const engines = [reference, createOnnxRuntimeEngine(), ...(isNativeBuilt ? [createNativeEngine()] : [])];
const batchSize = 8;
const qparamLr = 1e-3;
const sgd = { kind: "sgd", momentum: 0, weightDecay: 0 } as const;
const batch = tinyBatch("float64", batchSize);
const model = quantizeTiny(tinyClassifier(), { weights: 4, activations: 4 });

type Trial = Partial<Pick<StepOptions, "qparamTraining" | "plan">> & {
  readonly steps?: number;
  readonly engine?: Engine;
};

/** Variables after some steps in which only qparams have a learning rate. */
async function trainQparams(
  graph: Graph,
  { steps = 1, engine = reference, ...trial }: Trial,
): Promise<ReadonlyMap<string, Tensor>> {
  const step = buildStep(graph, { batchSize, loss: "cross-entropy", optimizer: sgd, plan: new Map(), ...trial });
  const variables = await engine.variables(step.initial);
  const program = (await engine.compile(step.graph)).bind(variables);
  const dtype = graph.values.get("input")?.dtype ?? "float64";
  const inputs = new Map<string, Tensor>([
    ["input", castTensor(batch.images, dtype)],
    [labelsInput, batch.labels],
    [learningRateInput, scalar(dtype, 0)],
    [qparamLearningRateInput, scalar(dtype, qparamLr)],
  ]);
  for (const input of step.rowInputs.values())
    inputs.set(input, { dtype: "int64", shape: [2], data: BigInt64Array.of(1n, 3n) });
  for (let index = 0; index < steps; index++) await program.run(inputs);
  const result = new Map<string, Tensor>();
  for (const name of variables.names()) result.set(name, await variables.read(name));
  return result;
}

const valuesOf = (values: ReadonlyMap<string, Tensor>, name: string): readonly number[] =>
  Array.from(numbersOf(values.get(name) ?? scalar("float64", Number.NaN)));

const scales = ["conv1.weight_scale", "conv2.weight_scale", "linear.weight_scale", "conv2.input_scale"];

/** ∂L/∂s: what Adam's first moment holds after one step, of 0.1. */
async function gradientOf(name: string): Promise<readonly number[]> {
  return valuesOf(await trainQparams(model, {}), `${name}/first_moment`).map((value) => value / 0.1);
}

describe("training log2 of the scales", () => {
  test.each(scales)("the gradient of %s is by its logarithm: ∂L/∂s · s · ln 2", async (name) => {
    const before = valuesOf(model.constants, name);
    const expected = (await gradientOf(name)).map((gradient, i) => gradient * before[i] * Math.LN2);
    const after = await trainQparams(model, { qparamTraining: "log2" });
    expectClose(
      valuesOf(after, `${name}/first_moment`).map((value) => value / 0.1),
      expected,
    );
  });

  test.each(scales)("Adam's first step moves log2 of %s by the learning rate, against the gradient", async (name) => {
    const gradient = await gradientOf(name);
    const after = valuesOf(await trainQparams(model, { qparamTraining: "log2" }), name);
    const before = valuesOf(model.constants, name);
    const isAbove = (row: number): boolean => Math.abs(gradient[row] * before[row]) > 1e-4;
    expect(gradient.some((_, row) => isAbove(row))).toBe(true);
    for (const [row, slope] of gradient.entries())
      if (isAbove(row)) expect(Math.log2(after[row] / before[row]) / (-Math.sign(slope) * qparamLr)).toBeCloseTo(1, 3);
  });

  test.each(engines)("scales of frozen rows keep their bytes on the $name engine", async (engine) => {
    const graph = castFloats(model, "float32");
    const plan = new Map([["conv1.weight", "rows" as const]]);
    const name = "conv1.weight_scale";
    const after = valuesOf(await trainQparams(graph, { qparamTraining: "log2", plan, steps: 3, engine }), name);
    const changed = after.map((value, row) => value !== valuesOf(graph.constants, name)[row]);
    expect(changed).toEqual([false, true, false, true, false, false]);
  });
});
