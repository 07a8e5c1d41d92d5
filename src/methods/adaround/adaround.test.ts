import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import { describeWithData, readTensors } from "../../../test/support/frostbit-data.ts";
import { passOf } from "../../../test/support/layer-pass.ts";
import { errorsByRow } from "../../../test/support/moments.ts";
import { createRandom } from "../../../test/support/random.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import { numbersOf, scalar, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { linearLayers } from "../../quantizers/linear-layers.ts";
import { dequantize, nearestIntegers } from "../../rounding/grid.ts";
import { matrixFormOf } from "../../rounding/matrix-form.ts";
import { measureMoments } from "../../rounding/measure-moments.ts";
import type { SecondMoments } from "../../rounding/moments.ts";
import type { RoundingProblem } from "../../rounding/problem.ts";
import { betaAt, learningRateOf } from "../../rounding/rounding-schedule.ts";
import { hardIntegers, offsetOf, startOf } from "../../rounding/soft-rounding.ts";
import { adaround } from "./adaround.ts";
import { adaroundOptions } from "./options.ts";
import { betaName, lambdaName, learningRateName, roundingStep, variableName } from "./step.ts";

const engine = createReferenceEngine();
const context = { engine, seed: 0 };
const sum = (values: ArrayLike<number>): number => Array.from(values).reduce((a, b) => a + b, 0);

interface Settings {
  readonly learningRate: number;
  readonly lambda: number;
  readonly beta: number;
}

interface Stepped {
  readonly variable: Float64Array;
  readonly gradient: Float64Array;
}

/** One step from `start`. Adam's first moment is then a tenth of the gradient. */
async function stepFrom(problem: RoundingProblem, start: Float64Array, settings: Settings): Promise<Stepped> {
  const { graph, initial } = roundingStep(problem, "float64");
  const shape = initial.get(variableName)?.shape ?? [];
  const variables = await engine.variables(new Map([...initial, [variableName, tensorOf("float64", shape, start)]]));
  const given: readonly (readonly [string, number])[] = [
    [learningRateName, settings.learningRate],
    [lambdaName, settings.lambda],
    [betaName, settings.beta],
  ];
  const program = (await engine.compile(graph)).bind(variables);
  await program.run(new Map(given.map(([name, value]) => [name, scalar("float64", value)])));
  const read = async (name: string): Promise<Float64Array> => (await variables.read(name)).data as Float64Array;
  const moment = await read(`${variableName}/first_moment`);
  return { variable: await read(variableName), gradient: moment.map((value) => value / (1 - 0.9)) };
}

describe("AdaRound", () => {
  const random = createRandom(3);
  const form = { groups: 2, rows: 3, columns: 4, isTransposed: false, shape: [6, 4] };
  const size = 24;
  const problem: RoundingProblem = {
    dtype: "float64",
    form,
    quotients: Float64Array.from({ length: size }, () => random.uniform(-3.5, 3.5)),
    grid: {
      scale: Float64Array.from({ length: size }, () => random.uniform(0.2, 0.4)),
      zeroPoint: new Float64Array(size),
      low: -3,
      high: 3,
    },
    moments: momentsOf(),
    factors: Float64Array.from({ length: 6 }, () => random.uniform(-2, 2)),
  };

  function momentsOf(): SecondMoments {
    const inputs = new Float64Array(32);
    for (let group = 0; group < 2; group++)
      for (let sample = 0; sample < 10; sample++) {
        const x = Array.from({ length: 4 }, () => random.normal() + 1);
        for (let i = 0; i < 16; i++) inputs[group * 16 + i] += x[Math.floor(i / 4)] * x[i % 4];
      }
    const cross = Float64Array.from({ length: size }, () => 5 * random.normal());
    return { form, count: 10, inputs, cross, targets: new Float64Array(6) };
  }

  /** The loss as the README writes it, of one variable for each weight. */
  function lossAt(variable: ArrayLike<number>, lambda: number, beta: number): number {
    const { quotients, grid, moments, factors } = problem;
    const offsets = Float64Array.from(variable as Float64Array, offsetOf);
    const soft = quotients.map(
      (quotient, i) => Math.min(grid.high, Math.max(grid.low, Math.floor(quotient) + offsets[i])) * grid.scale[i],
    );
    const fit = sum(errorsByRow(moments, soft).map((error, row) => error * factors[row] ** 2));
    return fit + lambda * sum(offsets.map((h) => 1 - Math.abs(2 * h - 1) ** beta));
  }

  test.each([
    [0, 20],
    [0.1, 20],
    [0.1, 2.5],
  ])("its gradient is that of the loss, lambda %d, beta %d", async (lambda, beta) => {
    const start = Float64Array.from({ length: size }, () => random.uniform(-2, 2));
    const { gradient: found } = await stepFrom(problem, start, { learningRate: 0, lambda, beta });
    const step = 1e-6;
    const isBound = problem.quotients.map((quotient) => Number(quotient >= 3 || quotient < -3));
    const expected = found.map((_, i) => {
      const at = (by: number): number[] => Array.from(start, (value, j) => (i === j ? value + by : value));
      return (lossAt(at(step), lambda, beta) - lossAt(at(-step), lambda, beta)) / (2 * step);
    });
    const free = (values: Float64Array): number[] => Array.from(values).filter((_, i) => isBound[i] === 0);
    expectClose(free(found), free(expected), { as: "finiteDifferences" });
    expect(sum(isBound)).toBeGreaterThan(0);
  });

  test("a weight on the grid can move up", async () => {
    const integer = { ...problem, quotients: problem.quotients.map(() => 1) };
    const { gradient } = await stepFrom(integer, startOf(integer), { learningRate: 0, lambda: 0, beta: 2 });
    expect(gradient.every((value) => Math.abs(value) > 1e-6)).toBe(true);
  });

  test("all iterations together beat rounding to nearest, and only up or down is chosen", async () => {
    const solved = await adaround(problem, adaroundOptions.parse({ iterations: 200 }), context);
    const weighed = (integers: Float64Array): number =>
      sum(
        errorsByRow(problem.moments, dequantize(problem.grid, integers)).map(
          (error, row) => error * problem.factors[row] ** 2,
        ),
      );
    expect(weighed(solved)).toBeLessThan(weighed(nearestIntegers(problem.quotients, problem.grid)));
    solved.forEach((q, i) => {
      const down = Math.floor(problem.quotients[i]);
      const allowed = [down, down + 1].map((value) => Math.min(3, Math.max(-3, value)));
      expect(allowed).toContain(q);
    });
  });

  test("the learning rate lets the variable travel", () => {
    const rateOf = (iterations: number, roundingLr?: number) =>
      learningRateOf(adaroundOptions.parse({ iterations, roundingLr }));
    expect([rateOf(1000), rateOf(20_000), rateOf(1000, 0.3)]).toEqual([0.01, 1e-3, 0.3]);
  });
});

interface Oracle {
  readonly conv: {
    readonly schedule: { readonly beta: number };
    readonly lambda_: number;
    readonly regularizer_loss: number;
    readonly adam: { readonly lr_V: number };
  };
  readonly beta_schedule: readonly {
    readonly t: number;
    readonly iterations: number;
    readonly linear: number | null;
  }[];
  readonly direct: { readonly loss: number };
}

describeWithData("AdaRound against the oracle in float64", (folder) => {
  let tensors: ReadonlyMap<string, Tensor>;
  let oracle: Oracle;
  beforeAll(() => {
    tensors = readTensors(folder, "reference_rounding", "reconstruction.f64.safetensors");
    oracle = JSON.parse(readFileSync(join(folder, "reference_rounding", "reconstruction.f64.json"), "utf8")) as Oracle;
  });
  const get = (name: string): Tensor => {
    const found = tensors.get(name);
    if (!found) throw new Error(`no tensor ${name}`);
    return found;
  };
  const values = (name: string): Float64Array => Float64Array.from(numbersOf(get(name)));
  const precise = { as: "float64", widen: { factor: 100, because: "1e-9 is the oracle's claim" } } as const;

  async function oracleProblem(): Promise<RoundingProblem> {
    const build = buildOn();
    const x = build.input("x", { dtype: "float64", shape: ["N", 3, 6, 6] });
    const weight = build.constant(get("conv.weight"), "weight");
    const graph = build.graph([build.node("Conv", [x, weight], { pads: [1, 1, 1, 1] })]);
    const [layer] = linearLayers(graph);
    const form = matrixFormOf(graph, layer);
    if (!form) throw new Error("no form");
    const bias = values("conv.bias");
    const target = get("variables.target");
    const t = tensorOf(
      "float64",
      target.shape,
      Array.from(numbersOf(target), (value, i) => value - bias[Math.floor(i / 36) % 5]),
    );
    const pass = passOf([get("conv.input_quantized_stream")], [t]);
    const job = { node: layer.node, form, dtype: "float64", positions: 36, pass } as const;
    const { fitted } = await measureMoments(job, context);
    const scales = values("conv.weight_scale");
    const scale = Float64Array.from({ length: 135 }, (_, i) => scales[Math.floor(i / 27)]);
    return {
      dtype: "float64",
      form,
      quotients: values("conv.weight").map((w, i) => w / scale[i]),
      grid: { scale, zeroPoint: new Float64Array(135), low: -3, high: 3 },
      moments: fitted,
      factors: new Float64Array(5).fill(1),
    };
  }

  test("error and gradient of rounded weights are those of a convolution", async () => {
    const problem = await oracleProblem();
    const { moments, grid, quotients } = problem;
    const weight = dequantize(grid, nearestIntegers(quotients, grid));
    expectClose([sum(errorsByRow(moments, weight)) / 5], [oracle.direct.loss], precise);
    const gradient = weight.map((_, at) => {
      const [row, column] = [Math.floor(at / 27), at % 27];
      let product = -moments.cross[at];
      for (let i = 0; i < 27; i++) product += weight[row * 27 + i] * moments.inputs[i * 27 + column];
      const isInside = Math.abs(Math.round(quotients[at])) <= 3;
      return isInside ? (2 * product) / moments.count / 5 : 0;
    });
    expectClose(gradient, values("direct.grad_weight"), precise);
  });

  test("start, offset and soft weight", async () => {
    const problem = await oracleProblem();
    expectClose(startOf(problem), values("conv.V_init"), precise);
    expectClose(values("conv.V").map(offsetOf), values("conv.h"), precise);
    expect(Array.from(hardIntegers(problem, values("conv.V")), (q) => q + 0)).toEqual(
      Array.from(values("conv.weight_integers_hard"), (q) => q + 0),
    );
  });

  test("the regularizer's gradient, and Adam's step with that of the reconstruction", async () => {
    const problem = await oracleProblem();
    const { beta } = oracle.conv.schedule;
    const still = { ...problem.moments, inputs: new Float64Array(27 * 27), cross: new Float64Array(135) };
    const settings = { learningRate: oracle.conv.adam.lr_V, lambda: oracle.conv.lambda_, beta };
    const { gradient: regularizer } = await stepFrom({ ...problem, moments: still }, values("conv.V"), settings);
    const isFree = problem.quotients.map((quotient) => Number(quotient < 3 && quotient >= -3));
    const keepFree = (gradient: Float64Array): Float64Array => gradient.filter((_, i) => isFree[i] === 1);
    expectClose(keepFree(regularizer), keepFree(values("conv.grad_V_regularizer")), precise);
    expectClose(
      [oracle.conv.lambda_ * sum(values("conv.V").map((v) => 1 - Math.abs(2 * offsetOf(v) - 1) ** beta))],
      [oracle.conv.regularizer_loss],
      precise,
    );
    // C that makes the closed form's gradient, −2 s h'(V) C, the one given.
    const given = values("conv.grad_V_reconstruction");
    const cross = values("conv.V").map((v, i) => {
      const sigmoid = 1 / (1 + Math.exp(-v));
      const slope = 2 * problem.grid.scale[i] * 1.2 * sigmoid * (1 - sigmoid);
      return given[i] === 0 ? 0 : (-given[i] * still.count) / slope;
    });
    const { variable } = await stepFrom({ ...problem, moments: { ...still, cross } }, values("conv.V"), settings);
    expectClose(variable, values("conv.V_after_adam"), precise);
  });

  test("the exponent's schedule", () => {
    for (const { t, iterations, linear } of oracle.beta_schedule)
      expect(betaAt(t, adaroundOptions.parse({ iterations })) ?? null, `t = ${t}`).toEqual(
        linear === null ? null : expect.closeTo(linear, 9),
      );
  });
});
