import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { runGraph } from "../../test/support/gradient-check.ts";
import { isNativeBuilt } from "../../test/support/native.ts";
import { quantizeTiny, tinyBatch, tinyClassifier, tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { gradient } from "../autodiff/gradient.ts";
import type { Engine, Precision } from "../engines/engine.ts";
import { createNativeEngine } from "../engines/native/native-engine.ts";
import { createOnnxRuntimeEngine } from "../engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { exportQdq } from "../export/qdq.ts";
import type { Graph } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { castTensor, numbersOf, scalar, type Tensor, tensorOf } from "../ir/tensor.ts";
import { kernels } from "../kernels/index.ts";
import { buildOn } from "../ops/infer.ts";
import { castFloats } from "../passes/cast-floats.ts";
import { foldQuantizers } from "../quantizers/fold.ts";
import { powerOfTwoQparams } from "../quantizers/qparams.ts";
import { clipActivations } from "./clipping-levels.ts";
import { labelsInput } from "./loss.ts";
import {
  buildPlannedStep,
  learningRateInput,
  type PlannedStepOptions,
  qparamLearningRateInput,
} from "./planned-step.ts";
import { type QparamTraining, qparamOptionsOf, qparamRateOf } from "./qparam-training.ts";

const reference = createReferenceEngine();
const engines = [reference, createOnnxRuntimeEngine(), ...(isNativeBuilt ? [createNativeEngine()] : [])];
const batchSize = 8;
const qparamLr = 1e-3;
const sgd = { kind: "sgd", momentum: 0, weightDecay: 0 } as const;
const batch = tinyBatch("float64", batchSize);
const model = quantizeTiny(tinyClassifier(), { weights: 4, activations: 4 });

interface Trial extends Partial<Pick<PlannedStepOptions, "plan">> {
  readonly training?: QparamTraining;
  readonly steps?: number;
  readonly engine?: Engine;
  readonly rate?: number;
  readonly precision?: Precision;
}

/** Variables after some steps in which only qparams have a learning rate. */
async function trainQparams(
  graph: Graph,
  { training = "direct", steps = 1, engine = reference, rate = qparamLr, precision = "float32", ...trial }: Trial,
): Promise<ReadonlyMap<string, Tensor>> {
  const qparams = qparamOptionsOf(training, sgd);
  const step = buildPlannedStep(graph, {
    batchSize,
    loss: "cross-entropy",
    optimizer: sgd,
    qparams,
    plan: new Map(),
    ...trial,
  });
  const variables = await engine.variables(step.initial);
  const program = (await engine.compile(step.graph, { precision })).bind(variables);
  const dtype = graph.values.get("input")?.dtype ?? "float64";
  const inputs = new Map<string, Tensor>([
    ["input", castTensor(batch.images, dtype)],
    [labelsInput, batch.labels],
    [learningRateInput, scalar(dtype, 0)],
    [qparamLearningRateInput, scalar(dtype, rate)],
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
    const after = await trainQparams(model, { training: "log2" });
    expectClose(
      valuesOf(after, `${name}/first_moment`).map((value) => value / 0.1),
      expected,
    );
  });

  test.each(scales)("Adam's first step moves log2 of %s by the learning rate, against the gradient", async (name) => {
    const gradient = await gradientOf(name);
    const after = valuesOf(await trainQparams(model, { training: "log2" }), name);
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
    const after = valuesOf(await trainQparams(graph, { training: "log2", plan, steps: 3, engine }), name);
    const changed = after.map((value, row) => value !== valuesOf(graph.constants, name)[row]);
    expect(changed).toEqual([false, true, false, true, false, false]);
  });
});

describe("LSQ", () => {
  /** N · p by hand: values that share the scale (of an activation: of one sample), times the highest integer. */
  const sharing = {
    "conv1.weight_scale": 27 * 7,
    "conv2.weight_scale": 54 * 7,
    "linear.weight_scale": 6 * 7,
    "conv2.input_scale": 6 * 64 * 15,
  };

  test.each(Object.entries(sharing))("the gradient of %s is scaled by 1/√%d", async (name, product) => {
    const expected = (await gradientOf(name)).map((gradient) => gradient / Math.sqrt(product));
    for (const training of ["lsq", "lsq+"] as const)
      expectClose(valuesOf(await trainQparams(model, { training }), `${name}/velocity`), expected);
  });

  test("zero points train with LSQ+ by the same scale, and not with LSQ", async () => {
    const name = "conv2.input_zero_point";
    const expected = (await gradientOf(name)).map((gradient) => gradient / Math.sqrt(6 * 64 * 15));
    expectClose(valuesOf(await trainQparams(model, { training: "lsq+" }), `${name}/velocity`), expected);
    expect(expected[0]).not.toBe(0);
    const fixed = await trainQparams(model, { training: "lsq" });
    expect(valuesOf(fixed, name)).toEqual(valuesOf(model.constants, name));
  });
});

describe("a zero point that a large rate drives away", () => {
  const runs = engines.flatMap((engine) => engine.precisions.map((precision) => ({ engine, precision })));

  test.each(runs)(
    "stays at one of the integers, and is exported as it trained: $engine.name, $precision",
    async (run) => {
      const graph = castFloats(model, "float32");
      const name = "conv2.input_zero_point";
      const trained = await trainQparams(graph, { training: "direct", rate: 50, steps: 3, ...run });
      const [zeroPoint] = valuesOf(trained, name);
      expect([0, 15]).toContain(roundHalfToEven(zeroPoint) + 0);
      // The scales stay as they were: the step is far too large for them.
      const constants = new Map([...graph.constants, [name, trained.get(name) as Tensor]]);
      const folded = foldQuantizers({ ...graph, constants }, "float");
      const { model: file } = exportQdq(folded, tinyOrigin, "int8");
      const inputs = new Map([["input", castTensor(batch.images, "float32")]]);
      const [expected, actual] = [folded.graph, file.graph].map((each) => runGraph(each, inputs, kernels));
      for (const output of graph.outputs) expect(actual.get(output)).toEqual(expected.get(output));
    },
  );
});

describe("PACT", () => {
  const x = [-2, -0.6, 0.2, 0.9, 1.4, 2.7, 5];
  const cotangent = [0.3, -1, 2, 0.7, -0.4, 1.1, 0.6];
  const clip = (alpha: number, zeroPoint: number): number =>
    x.reduce((sum, value, i) => {
      const [low, high] = [0, 15].map((integer) => (alpha * (integer - zeroPoint)) / 15);
      return sum + cotangent[i] * Math.min(Math.max(value, low), high);
    }, 0);

  test.each([0, 5])("∂L/∂α is that of the clipped values, zero point %d", (zeroPoint) => {
    const build = buildOn();
    const values = new Map([
      ["x_scale", scalar("float64", 0.13)],
      ["x_zero_point", scalar("float64", zeroPoint)],
    ]);
    const input = build.input("x", { dtype: "float64", shape: [x.length] });
    for (const name of values.keys()) build.variable(name, { dtype: "float64", shape: [] });
    const bounds = [0, 15].map((bound) => build.constant(scalar("float64", bound)));
    const y = build.node("FakeQuantize", [input, ...values.keys(), ...bounds], { bits: 4 });
    const weights = build.constant(tensorOf("float64", [x.length], cotangent));
    const loss = build.node("ReduceSum", [build.node("Mul", [y, weights])], { keepdims: 0 });
    const { graph, levels } = clipActivations(build.graph([loss]), values);
    const [level] = levels;
    const differentiated = gradient(graph, loss, new Map([[level.name, "all"]]));
    const found = differentiated.gradients.get(level.name) ?? "";
    const inputs = new Map([...values, [level.name, level.start], ["x", tensorOf("float64", [x.length], x)]]);
    const results = runGraph(differentiated.graph, inputs, kernels);
    const alpha = numbersOf(level.start)[0];
    const step = 1e-6;
    const slope = (clip(alpha + step, zeroPoint) - clip(alpha - step, zeroPoint)) / (2 * step);
    expect(alpha).toBeCloseTo(0.13 * 15, 12);
    expectClose(numbersOf(results.get(found) ?? level.start), [slope], { as: "finiteDifferences" });
  });

  test("scales of activations follow their levels; those of weights stay", async () => {
    const after = await trainQparams(model, { training: "pact" });
    const [scale] = valuesOf(after, "conv2.input_scale");
    expectClose([scale], [valuesOf(after, "conv2.input_scale/clipping_level")[0] / 15]);
    expect(scale).not.toBe(valuesOf(model.constants, "conv2.input_scale")[0]);
    expect(valuesOf(after, "conv1.weight_scale")).toEqual(valuesOf(model.constants, "conv1.weight_scale"));
  });
});

describe("TQT", () => {
  const powers = quantizeTiny(tinyClassifier(), { weights: 4, activations: 4 }, powerOfTwoQparams);

  test.each(scales)("the threshold of %s steps by its gradient, ∂L/∂s · s · ln 2", async (name) => {
    const direct = await trainQparams(powers, {});
    const gradient = valuesOf(direct, `${name}/first_moment`);
    const expected = gradient.map((value, i) => value * valuesOf(powers.constants, name)[i] * Math.LN2);
    const after = await trainQparams(powers, { training: "tqt" });
    expectClose(valuesOf(after, `${name}/first_moment`), expected);
  });

  test("scales stay powers of two, those that the threshold rounds up to", async () => {
    const after = await trainQparams(powers, { training: "tqt", steps: 3, rate: 0.4 });
    const moved = scales.filter((name) => {
      const thresholds = valuesOf(after, `${name}/threshold`);
      expect(valuesOf(after, name)).toEqual(thresholds.map((threshold) => 2 ** Math.ceil(threshold)));
      return String(valuesOf(after, name)) !== String(valuesOf(powers.constants, name));
    });
    expect(moved).not.toEqual([]);
  });

  test("a scale that is not a power of two is refused", async () => {
    await expect(trainQparams(model, { training: "tqt" })).rejects.toThrow(
      /^qparamTraining is "tqt", which trains powers of two, but scale "conv1\.(input|weight)_scale" holds 0\.\d+\. /,
    );
  });
});

test("the learning rate of qparams is as given, or what their way of training has by default", () => {
  const rate = (qparamTraining: QparamTraining, qparamLr?: number): number =>
    qparamRateOf({ qparamTraining, lr: 0.05, qparamLr });
  expect([rate("direct"), rate("log2"), rate("lsq"), rate("lsq+"), rate("pact"), rate("tqt")]).toEqual([
    1e-6, 1e-6, 0.05, 0.05, 0.05, 1e-2,
  ]);
  expect(rate("lsq", 0)).toBe(0);
});
