import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { describeWithData, readBytes, readTensors } from "../../test/support/frostbit-data.ts";
import { createRandom } from "../../test/support/random.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { assert } from "../ir/errors.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { hardIntegers } from "../rounding/soft-rounding.ts";
import { makeVariables } from "../training/make-variables.ts";
import { scheduleFactor } from "../training/schedule.ts";
import { buildStep } from "../training/step.ts";
import { randomCounterInput } from "../units/random-counters.ts";
import { channelLoss, fisherInput, type UnitLossSettings } from "./loss.ts";
import { dropQuantization, learnedWeights, type SoftWeights, softenWeights, type WeightLearning } from "./soft-unit.ts";
import {
  betaInput,
  lambdaInput,
  roundingRateInput,
  stepParameters,
  stepRateInput,
  weightParameters,
} from "./update-rules.ts";

const engine = createReferenceEngine();
const floats = (shape: readonly number[], values: ArrayLike<number>): Tensor => tensorOf("float64", shape, values);
const number = (value: number): Tensor => scalar("float64", value);

interface Layer {
  readonly name: string;
  readonly weight: Tensor;
  readonly scale: Tensor;
  /** Absent: around zero. */
  readonly zeroPoint?: Tensor;
  readonly bounds: readonly [low: number, high: number];
  readonly bias: Tensor;
  readonly inputScale: number;
  readonly inputZeroPoint: number;
}

/** conv(fakeQuantize(x), fakeQuantize(w)) + bias, with activations of 4 bits, as quantizing puts it. */
function addLayer(build: ReturnType<typeof buildOn>, x: string, layer: Layer): string {
  const { name, weight, scale, zeroPoint, bounds, bias, inputScale, inputZeroPoint } = layer;
  const given = (value: Tensor, what: string): string => build.constant(value, `${name}.${what}`);
  const quantized = (
    value: string,
    qparams: readonly (string | undefined)[],
    range: readonly number[],
    axis?: number,
  ) =>
    build.node(
      "FakeQuantize",
      [value, ...qparams, ...range.map((bound) => build.constant(number(bound)))],
      axis === undefined ? { bits: 4 } : { bits: 4, axis },
      `${value}_quantizer`,
    );
  const qparams = [given(number(inputScale), "input_scale"), given(number(inputZeroPoint), "input_zero_point")];
  const input = quantized(x, qparams, [0, 15]);
  const steps = [given(scale, "weight_scale"), zeroPoint && given(zeroPoint, "weight_zero_point")];
  const rounded = quantized(given(weight, "weight"), steps, bounds, 0);
  const attributes = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
  return build.node("Conv", [input, rounded, given(bias, "bias")], attributes, name);
}

const byRounding: WeightLearning = {
  variable: "sigmoid",
  trainsScale: false,
  subset: { by: "magnitude", share: 1 },
};

/** A unit of x, all its weights as they learn, and where those that are given start. */
function softUnit(
  unit: Graph,
  variables: readonly Tensor[],
  learning: WeightLearning = byRounding,
): { soft: Graph; learned: SoftWeights } {
  const none = { ...unit, nodes: [], values: new Map(), constants: new Map() };
  const learned = learnedWeights({ quantized: unit, own: new Set(unit.constants.keys()) }, none, learning, 3);
  const soft = softenWeights(unit, learned);
  const started = learned.weights
    .slice(0, variables.length)
    .map(({ variable }, i) => [variable, variables[i]] as const);
  return { soft: { ...soft, constants: new Map([...soft.constants, ...started]) }, learned };
}

/** Choices by masks that are given, 1: quantized, in place of those at random. */
function withMasks(graph: Graph, masks: readonly Tensor[]): Graph {
  const constants = new Map(graph.constants);
  const values = new Map(graph.values);
  let next = 0;
  const masked = (node: Node): Node => {
    if (node.op !== "RandomChoice") return node;
    const name = `mask${next}`;
    const mask = masks[next++];
    constants.set(name, tensorOf("bool", mask.shape, toNumbers(mask)));
    values.set(name, { dtype: "bool", shape: mask.shape });
    const [float, quantized] = node.inputs;
    return { ...node, op: "Where", inputs: [name, quantized, float], attributes: {} };
  };
  const nodes = graph.nodes.map(masked);
  const counters = new Set(graph.nodes.flatMap(({ outputs }) => outputs).map(randomCounterInput));
  return { ...graph, nodes, constants, values, inputs: graph.inputs.filter((input) => !counters.has(input)) };
}

const squared: UnitLossSettings = { kind: "mse", power: 2 };

interface Iteration {
  readonly lambda: number;
  readonly beta: number;
  readonly roundingRate: number;
  readonly stepRate: number;
}

interface RunInputs {
  readonly x: Tensor;
  readonly target: Tensor;
  readonly power?: number;
  readonly fisher?: Tensor;
}

/** Runs steps of a unit of x, whose layers are those of `whole`, against a target; gives the losses and how every variable came out. */
async function runSteps(
  whole: Graph,
  unit: Graph,
  learned: SoftWeights,
  { x, target, power, fisher }: RunInputs,
  iterations: readonly Iteration[],
): Promise<{ losses: readonly number[]; read: (name: string) => Float64Array }> {
  const parameters = [...weightParameters(learned, { optimizer: "adam", keep: "last" }), ...stepParameters(unit)];
  const { graph, initial } = makeVariables(
    unit,
    parameters.map(({ name }) => name),
  );
  const [output] = graph.outputs;
  const plain: UnitLossSettings = power === undefined ? squared : { kind: "lp", power };
  const settings: UnitLossSettings = fisher ? { kind: "fisher-diagonal" } : plain;
  const step = buildStep({
    forward: graph,
    start: initial,
    loss: (build, forward) =>
      channelLoss(whole, settings)(build, forward, new Map([[output, build.input("target", build.type(output))]])),
    parameters,
    microBatches: 1,
  });
  const variables = await engine.variables(step.initial);
  const program = (await engine.compile(step.graph)).bind(variables);
  const losses: number[] = [];
  for (const { lambda, beta, roundingRate, stepRate } of iterations) {
    const fed = new Map([
      ["x", x],
      ["target", target],
      [fisherInput(output), fisher ?? target],
      [lambdaInput, number(lambda)],
      [betaInput, number(beta)],
      [roundingRateInput, number(roundingRate)],
      [stepRateInput, number(stepRate)],
    ]);
    const outputs = await program.run(new Map([...fed].filter(([name]) => step.graph.inputs.includes(name))));
    losses.push(toNumbers(outputs.get(step.loss) ?? number(Number.NaN))[0]);
  }
  const all = new Map<string, Float64Array>();
  for (const name of variables.names()) all.set(name, Float64Array.from(toNumbers(await variables.read(name))));
  return { losses, read: (name) => all.get(name) ?? new Float64Array() };
}

/** After one step of Adam, its first moment is a tenth of the gradient. */
const gradientOf = (moment: Float64Array): Float64Array => moment.map((value) => value * 10);

const rates = { roundingRate: 1e-3, stepRate: 4e-5 };

describe("the gradient of a soft unit's rounding variables", () => {
  const random = createRandom(5);
  const [rows, inputs, samples] = [3, 4, 6];
  const weight = random.tensor("float64", [inputs, rows]);
  const scale = 0.3;
  const x = random.tensor("float64", [samples, inputs]);
  const target = random.tensor("float64", [samples, rows]);
  const variable = random.tensor("float64", [inputs, rows]);

  const build = buildOn();
  const input = build.input("x", { dtype: "float64", shape: [samples, inputs] });
  const bounds = [-2, 1].map((bound) => build.constant(number(bound)));
  const rounded = build.node("FakeQuantize", [
    build.constant(weight, "w"),
    build.constant(number(scale), "s"),
    undefined,
    ...bounds,
  ]);
  const unit = build.graph([build.node("MatMul", [input, rounded], {}, "y")]);

  const h = (v: number): number => Math.min(1, Math.max(0, 1.2 / (1 + Math.exp(-v)) - 0.1));
  /** Written down element by element: (clip(⌊w/s⌋ + h(V), −2, 1))·s, the mean over samples of the sum over outputs, and the term. */
  function lossAt(variables: ArrayLike<number>, lambda: number, beta: number): number {
    const soft = toNumbers(weight).map(
      (w, i) => Math.min(1, Math.max(-2, Math.floor(w / scale) + h(variables[i]))) * scale,
    );
    let error = 0;
    for (let n = 0; n < samples; n++)
      for (let row = 0; row < rows; row++) {
        let y = -toNumbers(target)[n * rows + row];
        for (let i = 0; i < inputs; i++) y += toNumbers(x)[n * inputs + i] * soft[i * rows + row];
        error += y * y;
      }
    const term = Array.from(variables, (v) => 1 - Math.abs(2 * h(v) - 1) ** beta);
    return error / samples + lambda * term.reduce((sum, value) => sum + value, 0);
  }

  test.each([
    [0, 20],
    [0.01, 11],
    [0.3, 2.5],
  ])("is that of the loss and the term that decides, lambda %s, beta %s", async (lambda, beta) => {
    const { soft, learned } = softUnit(unit, [variable]);
    const { losses, read } = await runSteps(unit, soft, learned, { x, target }, [{ ...rates, lambda, beta }]);
    const at = Float64Array.from(toNumbers(variable));
    expectClose(losses, [lossAt(at, 0, beta)]);
    const difference = 1e-6;
    const expected = at.map((_, i) => {
      const moved = (by: number): number =>
        lossAt(
          at.map((v, j) => (j === i ? v + by : v)),
          lambda,
          beta,
        );
      return (moved(difference) - moved(-difference)) / (2 * difference);
    });
    expectClose(gradientOf(read(`${learned.weights[0].variable}/first_moment`)), expected, { as: "finiteDifferences" });
  });

  test("starts where the soft weight is the weight, where the grid holds it", async () => {
    const { soft } = softUnit(unit, []);
    const one = floats(
      [inputs, inputs],
      Array.from({ length: inputs ** 2 }, (_, i) => Number(i % (inputs + 1) === 0)),
    );
    const identity = {
      ...soft,
      values: new Map([...soft.values, ["x", { dtype: "float64" as const, shape: [inputs, inputs] }]]),
    };
    const executable = await engine.compile({ ...identity, outputs: ["y"] });
    const program = executable.bind(await engine.variables(new Map()));
    const y = (await program.run(new Map([["x", one]]))).get("y");
    assert(y, "no y");
    const inside = (w: number): number => Math.min(1 * scale, Math.max(-2 * scale, w));
    expectClose(y, toNumbers(weight).map(inside), {
      widen: { factor: 1e6, because: "offsets start 1e-6 inside 0 and 1" },
    });
  });
});

describeWithData("iterations of another program in float64", (folder) => {
  const place = [folder, "reference_rounding"];
  const file = folder ? readTensors(...place, "reconstruction.f64.safetensors") : new Map<string, Tensor>();
  const oracle = folder ? JSON.parse(new TextDecoder().decode(readBytes(...place, "reconstruction.f64.json"))) : {};
  const given = (name: string): Tensor => {
    const found = file.get(name);
    assert(found, `the oracle has no ${name}`);
    return found;
  };
  const values = (name: string): Float64Array => Float64Array.from(toNumbers(given(name)));
  const precise = { widen: { factor: 100, because: "the oracle holds to 1e-9" } };

  const build = buildOn();
  const x = build.input("x", { dtype: "float64", shape: [4, 3, 6, 6] });
  const conv = (): Graph => {
    const y = addLayer(build, x, {
      name: "conv",
      weight: given("conv.weight"),
      scale: given("conv.weight_scale"),
      bounds: [-3, 3],
      bias: given("conv.bias"),
      inputScale: values("conv.input_scale")[0],
      inputZeroPoint: 7,
    });
    return build.graph([build.node("Relu", [y], {}, "y")]);
  };
  const unit = folder ? conv() : undefined;
  const data = { x: folder ? given("conv.input_mixed") : number(0), target: folder ? given("conv.target") : number(0) };
  const factor: number = folder ? oracle.conv.step_gradient_factor : 0;

  async function convStep(lambda: number, options: { readonly power?: number; readonly drops?: boolean } = {}) {
    assert(unit, "no oracle");
    const { soft, learned } = softUnit(unit, [given("conv.V")]);
    const dropped = options.drops === false ? soft : withMasks(dropQuantization(soft, 0.5), [given("conv.drop_mask")]);
    const inputs = { ...data, ...(options.power ? { power: options.power } : {}) };
    const result = await runSteps(unit, dropped, learned, inputs, [
      { ...rates, lambda, beta: oracle.conv.schedule.beta },
    ]);
    const moment = (name: string): Float64Array => gradientOf(result.read(`${name}/first_moment`));
    return { ...result, learned, dV: moment(learned.weights[0].variable), dScale: moment("conv.input_scale") };
  }

  test("a convolution with Relu: losses, gradients, Adam's step, integers", async () => {
    const plain = await convStep(0);
    expectClose(plain.losses, [oracle.conv.reconstruction_loss], precise);
    expectClose(plain.dV, values("conv.grad_V_reconstruction"), precise);
    expectClose(plain.dScale, [oracle.conv.input_scale_gradient_scaled], precise);
    expectClose(
      plain.dScale.map((value) => value / factor),
      values("conv.grad_input_scale_unscaled"),
      precise,
    );
    const { dV, read, learned } = await convStep(oracle.conv.lambda_);
    const regularizer = values("conv.grad_V_regularizer");
    expectClose(
      dV,
      values("conv.grad_V_reconstruction").map((value, i) => value + regularizer[i]),
      precise,
    );
    expectClose(read(learned.weights[0].variable), values("conv.V_after_adam"), precise);
    expectClose(read("conv.input_scale"), values("conv.input_scale_after_adam"), precise);
    expect(Array.from(hardIntegers(learned.weights[0].weights, values("conv.V")), (q) => q + 0)).toEqual(
      Array.from(values("conv.weight_integers_hard"), (q) => q + 0),
    );
  });

  test("the power 2.4, without drop", async () => {
    const { losses, dV, dScale } = await convStep(0, { power: 2.4, drops: false });
    expectClose(losses, [oracle.conv.l24_no_drop_loss], precise);
    expectClose(dV, values("conv.grad_V_l24_no_drop"), precise);
    expectClose(
      dScale.map((value) => value / factor),
      values("conv.grad_input_scale_l24_no_drop"),
      precise,
    );
  });

  test("the difference weighed by Fisher information", async () => {
    assert(unit, "no oracle");
    const { soft, learned } = softUnit(unit, [given("conv.V")]);
    const dropped = withMasks(dropQuantization(soft, 0.5), [given("conv.drop_mask")]);
    const inputs = { ...data, fisher: given("conv.fisher_weight") };
    const once = [{ ...rates, lambda: 0, beta: 20 }];
    const { losses, read } = await runSteps(unit, dropped, learned, inputs, once);
    expectClose(losses, [oracle.conv.fisher_diag_loss], precise);
    const moment = read(`${learned.weights[0].variable}/first_moment`);
    expectClose(gradientOf(moment), values("conv.grad_V_fisher_diag"), precise);
  });

  test("a residual block with zero points of weights: two iterations", async () => {
    const blockBuild = buildOn();
    const start = blockBuild.input("x", { dtype: "float64", shape: [3, 4, 6, 6] });
    const layer = (input: string, index: 1 | 2): string =>
      addLayer(blockBuild, input, {
        name: `conv${index}`,
        weight: given(`block.weight${index}`),
        scale: given(`block.weight_scale${index}`),
        zeroPoint: given(`block.weight_zero_point${index}`),
        bounds: [0, 3],
        bias: given(`block.bias${index}`),
        inputScale: values(`block.input_scale${index}`)[0],
        inputZeroPoint: 0,
      });
    const middle = blockBuild.node("Relu", [layer(start, 1)], {}, "middle");
    const sum = blockBuild.node("Add", [layer(middle, 2), start]);
    const block = blockBuild.graph([blockBuild.node("Relu", [sum], {}, "y")]);
    const { soft, learned } = softUnit(block, [given("block.V1"), given("block.V2")]);
    const dropped = withMasks(dropQuantization(soft, 0.5), [given("block.drop_mask1"), given("block.drop_mask2")]);
    const [float, quantized, mask] = ["input_float_stream", "input_quantized_stream", "input_mix_mask"].map((name) =>
      values(`block.${name}`),
    );
    const mixed = floats(
      [3, 4, 6, 6],
      mask.map((keep, i) => (keep === 1 ? quantized[i] : float[i])),
    );
    const iterations = oracle.block.steps.map(({ beta }: { readonly beta: number }, k: number) => ({
      lambda: oracle.block.lambda_,
      beta,
      roundingRate: 1e-3,
      stepRate: 4e-5 * scheduleFactor({ schedule: "cosine", warmup: 0, milestones: [], decay: 1 }, k, 20_000),
    }));
    const { losses, read } = await runSteps(
      block,
      dropped,
      learned,
      { x: mixed, target: given("block.target") },
      iterations,
    );
    expectClose(
      losses,
      oracle.block.steps.map((each: { readonly reconstruction_loss: number }) => each.reconstruction_loss),
      precise,
    );
    for (const [i, { variable, weights }] of learned.weights.entries()) {
      expectClose(read(variable), values(`block.V${i + 1}_after_2_steps`), precise);
      expectClose(read(`conv${i + 1}.input_scale`), values(`block.input_scale${i + 1}_after_2_steps`), precise);
      const integers = hardIntegers(weights, read(variable));
      expect(Array.from(integers, (q) => q + 0)).toEqual(Array.from(values(`block.weight_integers_hard${i + 1}`)));
    }
  });
});
