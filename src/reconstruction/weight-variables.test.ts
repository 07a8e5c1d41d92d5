import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { describeWithData, readBytes, readTensors } from "../../test/support/frostbit-data.ts";
import { createRandom } from "../../test/support/random.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { dequantize, nearestIntegers } from "../rounding/grid.ts";
import { makeVariables } from "../training/make-variables.ts";
import { buildStep } from "../training/step.ts";
import { channelLoss } from "./loss.ts";
import { type OptimizerName, optimizerNames, optimizers } from "./optimizers.ts";
import {
  learnedParameters,
  learnedWeights,
  type SoftWeights,
  softenWeights,
  type WeightLearning,
} from "./soft-unit.ts";
import { bestOf, roundingRateInput, scaleRateInput, type WeightTraining, weightParameters } from "./update-rules.ts";
import { variableNames, weightVariables } from "./weight-variables.ts";

const engine = createReferenceEngine();
const number = (value: number): Tensor => scalar("float64", value);
const everything = { by: "magnitude", share: 1 } as const;

interface Weight {
  readonly weight: Tensor;
  readonly scale: Tensor;
  readonly zeroPoint?: Tensor;
  readonly bounds: readonly [low: number, high: number];
}

/** conv(x, fakeQuantize(w)) + bias, of x [samples, inputs, 6, 6]. */
function convolution({ weight, scale, zeroPoint, bounds }: Weight, samples: number, bias?: Tensor): Graph {
  const build = buildOn();
  const [, inputs, kernel] = weight.shape;
  const x = build.input("x", { dtype: "float64", shape: [samples, inputs, 6, 6] });
  const quantized = build.node(
    "FakeQuantize",
    [
      build.constant(weight, "w"),
      build.constant(scale, "s"),
      zeroPoint && build.constant(zeroPoint, "z"),
      ...bounds.map((bound) => build.constant(number(bound))),
    ],
    scale.shape.length === 0 ? { bits: 4 } : { bits: 4, axis: 0 },
  );
  const pads = Array.from({ length: 4 }, () => Math.floor(kernel / 2));
  const attributes = { kernel_shape: [kernel, kernel], pads };
  const read = [x, quantized, ...(bias ? [build.constant(bias, "bias")] : [])];
  return build.graph([build.node("Conv", read, attributes, "y")]);
}

interface Learner {
  readonly unit: Graph;
  readonly soft: Graph;
  readonly learned: SoftWeights;
}

function learner(
  unit: Graph,
  learning: Partial<WeightLearning>,
  starts: Readonly<Record<string, Tensor>> = {},
): Learner {
  const none = { ...unit, nodes: [], values: new Map(), constants: new Map() };
  const given = { variable: "sigmoid", trainsScale: false, subset: everything, ...learning } as const;
  const learned = learnedWeights({ quantized: unit, own: new Set(unit.constants.keys()) }, none, given, 3);
  const soft = softenWeights(unit, learned);
  const started = [...soft.constants].map(([name, value]) => {
    const start = starts[name.slice(name.indexOf("/") + 1)];
    return [name, start ? tensorOf(value.dtype, value.shape, toNumbers(start)) : value] as const;
  });
  return { unit, soft: { ...soft, constants: new Map(started) }, learned };
}

/** The unit's output with parameters as they are. */
async function outputOf(soft: Graph, x: Tensor): Promise<readonly number[]> {
  const program = (await engine.compile(soft)).bind(await engine.variables(new Map()));
  const y = (await program.run(new Map([["x", x]]))).get(soft.outputs[0]);
  assert(y, "no output");
  return toNumbers(y);
}

interface Steps {
  readonly training?: WeightTraining;
  readonly rate?: number;
  readonly count?: number;
}

/** How every variable comes out of so many steps down the mean over samples and positions of the sum over channels of Δ². */
async function steps(
  { unit, soft, learned }: Learner,
  { x, target }: { readonly x: Tensor; readonly target: Tensor },
  { training = { optimizer: "adam", keep: "last" }, rate = 1e-3, count = 1 }: Steps,
): Promise<{ losses: readonly number[]; read: (name: string) => Float64Array }> {
  const parameters = weightParameters(learned, training);
  const best = learnedParameters(learned).map(({ name, start }) => [bestOf(name), start] as const);
  const constants = new Map([...soft.constants, ...(training.keep === "best" ? best : [])]);
  const values = new Map([
    ...soft.values,
    ...best.map(([name, { dtype, shape }]) => [name, { dtype, shape }] as const),
  ]);
  const model = { ...soft, constants, values };
  const { graph, initial } = makeVariables(
    model,
    parameters.map(({ name }) => name),
  );
  const [output] = graph.outputs;
  const step = buildStep({
    forward: graph,
    start: initial,
    loss: (build, forward) =>
      channelLoss(unit, { kind: "mse", power: 2 })(
        build,
        forward,
        new Map([[output, build.input("target", build.type(output))]]),
      ),
    parameters,
    microBatches: 1,
  });
  const variables = await engine.variables(step.initial);
  const program = (await engine.compile(step.graph)).bind(variables);
  const fed = new Map([
    ["x", x],
    ["target", target],
    [roundingRateInput, number(rate)],
    [scaleRateInput, number(rate)],
    ["frostbit/lambda", number(0)],
    ["frostbit/beta", number(20)],
  ]);
  const inputs = new Map([...fed].filter(([name]) => step.graph.inputs.includes(name)));
  const losses: number[] = [];
  for (let i = 0; i < count; i++) losses.push(toNumbers((await program.run(inputs)).get(step.loss) ?? number(0))[0]);
  const all = new Map<string, Float64Array>();
  for (const name of variables.names()) all.set(name, Float64Array.from(toNumbers(await variables.read(name))));
  return { losses, read: (name) => all.get(name) ?? new Float64Array() };
}

/** After one step of Adam, its first moment is a tenth of the gradient. */
const gradientOf = (moment: Float64Array): Float64Array => moment.map((value) => value * 10);

describeWithData("gradients of another program in float64", (folder) => {
  const place = [folder, "reference_rounding"];
  const file = folder ? readTensors(...place, "reconstruction.f64.safetensors") : new Map<string, Tensor>();
  const oracle = folder ? JSON.parse(new TextDecoder().decode(readBytes(...place, "reconstruction.f64.json"))) : {};
  const given = (name: string): Tensor => {
    const found = file.get(name);
    assert(found, `the oracle has no ${name}`);
    return found;
  };
  const precise = { widen: { factor: 100, because: "the oracle holds to 1e-9" } };

  /** The convolution, and its gradients; the oracle's loss is a mean over channels too. */
  async function gradientsOf(weight: Weight, learning: Partial<WeightLearning>, starts: Record<string, Tensor>) {
    const unit = convolution(weight, 4, given("conv.bias"));
    const data = { x: given("conv.input_quantized_stream"), target: given("variables.target") };
    const { losses, read } = await steps(learner(unit, learning, starts), data, {});
    const channels = weight.weight.shape[0];
    const prefix = `${unit.nodes[0].outputs[0]}/`;
    const gradient = (what: string) =>
      gradientOf(read(`${prefix}${what}/first_moment`)).map((value) => value / channels);
    return { loss: losses[0] / channels, gradient };
  }

  const shaped = (name: string, shape: readonly number[]): Tensor => tensorOf("float64", shape, toNumbers(given(name)));

  test("offset: of the offset and of both ends of the range", async () => {
    const weight = given("conv.weight");
    const [rows] = weight.shape;
    const size = weight.data.length / rows;
    const row = (i: number): readonly number[] => [...toNumbers(weight)].slice(i * size, (i + 1) * size);
    const ends = Array.from({ length: rows }, (_, i) => [Math.min(0, ...row(i)), Math.max(0, ...row(i))]);
    const scales = ends.map(([low, high]) => (high - low) / 15);
    const { loss, gradient } = await gradientsOf(
      {
        weight,
        scale: tensorOf("float64", [rows], scales),
        zeroPoint: tensorOf(
          "float64",
          [rows],
          ends.map(([low], i) => -low / scales[i]),
        ),
        bounds: [0, 15],
      },
      { variable: "offset", trainsScale: true },
      {
        rounding: shaped("autoround.v", weight.shape),
        low: shaped("autoround.min_scale", [rows]),
        high: shaped("autoround.max_scale", [rows]),
      },
    );
    expectClose([loss], [oracle.autoround.loss], precise);
    expectClose(gradient("rounding"), toNumbers(given("autoround.grad_v")), precise);
    expectClose(gradient("high"), toNumbers(given("autoround.grad_max_scale")), precise);
    expectClose(gradient("low"), toNumbers(given("autoround.grad_min_scale")), precise);
  });

  test("divisor: of all its factors", async () => {
    const weight = given("conv.weight");
    const [rows] = weight.shape;
    const { loss, gradient } = await gradientsOf(
      {
        weight,
        scale: tensorOf("float64", [rows], toNumbers(given("flexround.log_scale")).map(Math.exp)),
        bounds: [-8, 7],
      },
      { variable: "divisor", trainsScale: true },
      {
        rounding: given("flexround.S2"),
        rows: given("flexround.s3"),
        inputs: given("flexround.s4"),
      },
    );
    expectClose([loss], [oracle.flexround.loss], precise);
    expectClose(gradient("rounding"), toNumbers(given("flexround.grad_S2")), precise);
    expectClose(gradient("rows"), toNumbers(given("flexround.grad_s3")), precise);
    expectClose(gradient("inputs"), toNumbers(given("flexround.grad_s4")), precise);
    expectClose(gradient("log_scale"), toNumbers(given("flexround.grad_log_scale")), precise);
  });

  test("direct: of the weight", async () => {
    const weight = given("conv.weight");
    const scale = given("conv.weight_scale");
    const { gradient } = await gradientsOf({ weight, scale, bounds: [-3, 3] }, { variable: "direct" }, {});
    expectClose(gradient("rounding"), toNumbers(given("direct.grad_weight")), precise);
  });
});

describe("weights learn", () => {
  const random = createRandom(11);
  const weight = random.tensor("float64", [3, 2, 3, 3]);
  const scale = tensorOf("float64", [3], [0.31, 0.27, 0.4]);
  const around: Weight = { weight, scale, bounds: [-3, 3] };
  const shifted: Weight = { weight, scale, zeroPoint: tensorOf("float64", [3], [3, 4, 2]), bounds: [0, 7] };
  const x = random.tensor("float64", [2, 2, 6, 6]);
  const target = random.tensor("float64", [2, 3, 6, 6]);

  /** The loss at moved parameters, by running the unit alone. */
  async function lossAt(soft: Graph, name: string, moved: Float64Array): Promise<number> {
    const start = soft.constants.get(name);
    assert(start, `no ${name}`);
    const constants = new Map([...soft.constants, [name, tensorOf("float64", start.shape, moved)]]);
    const y = await outputOf({ ...soft, constants }, x);
    const wanted = toNumbers(target);
    return (y.reduce((sum, value, i) => sum + (value - wanted[i]) ** 2, 0) / y.length) * 3;
  }

  test("a scale beside the sigmoid has the gradient of finite differences", async () => {
    const made = learner(convolution(shifted, 2), { trainsScale: true });
    const { read } = await steps(made, { x, target }, {});
    const name = learnedParameters(made.learned)[1].name;
    const at = Float64Array.from(toNumbers(scale));
    const expected: number[] = [];
    for (let i = 0; i < at.length; i++) {
      const moved = (by: number) =>
        lossAt(
          made.soft,
          name,
          at.map((value, j) => (i === j ? value + by : value)),
        );
      expected.push(((await moved(1e-6)) - (await moved(-1e-6))) / 2e-6);
    }
    expectClose(gradientOf(read(`${name}/first_moment`)), expected, { as: "finiteDifferences" });
  });

  const kinds = variableNames.flatMap((variable) =>
    [false, true].flatMap((trainsScale) => [around, shifted].map((given) => [variable, trainsScale, given] as const)),
  );

  test.each(kinds)(
    "as %s, scales trained: %s, and become the integers and scales that they compute with",
    async (variable, trainsScale, given) => {
      const made = learner(convolution(given, 2), { variable, trainsScale });
      const { read } = await steps(made, { x, target }, { rate: 0.02, count: 30 });
      const trained = learnedParameters(made.learned).map(
        ({ name, start }) => [name, tensorOf("float64", start.shape, read(name))] as const,
      );
      // What is neither 0 nor 1 yet is decided.
      const decided = trained.map(([name, value]) =>
        variable === "sigmoid" && name.endsWith("/rounding")
          ? ([
              name,
              tensorOf(
                "float64",
                value.shape,
                toNumbers(value).map((v) => (v >= 0 ? 9 : -9)),
              ),
            ] as const)
          : ([name, value] as const),
      );
      const soft = { ...made.soft, constants: new Map([...made.soft.constants, ...decided]) };
      const [learned] = made.learned.weights;
      const { integers, scales, zeroPoints } = weightVariables[variable].harden(learned, read);
      expect(scales !== undefined).toBe(trainsScale);
      const { grid } = learned.weights;
      const own = (values: Float64Array | undefined, old: Float64Array) =>
        values ? Float64Array.from(learned.scaleOf, (at) => values[at]) : old;
      const hard = dequantize(
        { ...grid, scale: own(scales, grid.scale), zeroPoint: own(zeroPoints, grid.zeroPoint) },
        integers,
      );
      const plain = convolution(given, 2);
      const nodes = plain.nodes.filter(({ op }) => op === "Conv").map((node) => ({ ...node, inputs: ["x", "w"] }));
      const constants = new Map([...plain.constants, ["w", tensorOf("float64", weight.shape, hard)]]);
      expectClose(await outputOf({ ...plain, nodes, constants }, x), await outputOf(soft, x));
      for (const q of integers) expect(q >= grid.low && q <= grid.high && Number.isInteger(q)).toBe(true);
    },
  );

  test.each(variableNames)("as %s, a share of them: the others are rounded to nearest", async (variable) => {
    const unit = convolution(around, 2);
    for (const by of ["magnitude", "threshold", "random"] as const) {
      const made = learner(unit, { variable, subset: { by, share: 0.5 } });
      const { read } = await steps(made, { x, target }, { rate: 0.2, count: 30 });
      const [learned] = made.learned.weights;
      const { integers } = weightVariables[variable].harden(learned, read);
      const all = learner(unit, { variable }).learned.weights[0];
      const plain = nearestIntegers(all.weights.quotients, all.weights.grid);
      const learns = learned.learns ?? new Float64Array();
      expect(learns.reduce((sum, value) => sum + value, 0)).toBe(27);
      const changed = integers.map((q, i) => Number(q !== plain[i]));
      expect(changed.some((value, i) => value === 1 && learns[i] === 0)).toBe(false);
      expect(changed.some((value) => value === 1)).toBe(true);
      const rank = (i: number): number =>
        by === "magnitude"
          ? -Math.abs(toNumbers(weight)[i])
          : Math.abs(learned.weights.quotients[i] - Math.floor(learned.weights.quotients[i]) - 0.5);
      const ranks = (what: number) =>
        Array.from(learns.keys())
          .filter((i) => learns[i] === what)
          .map(rank);
      if (by !== "random") expect(Math.max(...ranks(1))).toBeLessThanOrEqual(Math.min(...ranks(0)));
    }
  });

  test("and keep what they were at the step of the least loss", async () => {
    const made = learner(convolution(around, 2), { variable: "direct" });
    const training = { optimizer: "sign-sgd", keep: "best" } as const;
    const [{ name }] = learnedParameters(made.learned);
    const { losses, read } = await steps(made, { x, target }, { training, rate: 0.3, count: 12 });
    const least = losses.indexOf(Math.min(...losses));
    const until = await steps(
      made,
      { x, target },
      { training: { ...training, keep: "last" }, rate: 0.3, count: least },
    );
    const before = least === 0 ? Float64Array.from(toNumbers(weight)) : until.read(name);
    expect(read(bestOf(name))).toEqual(before);
    expect(least).toBeLessThan(11);
  });
});

/** As PyTorch's documentation writes them, for one number. */
const written: Readonly<Record<OptimizerName, (gradients: readonly number[], rate: number) => number>> = {
  adam: (gradients, rate) => adamOf(gradients, rate),
  adamw: (gradients, rate) => adamOf(gradients, rate, 0.01),
  sgd: (gradients, rate) => {
    let [p, velocity] = [1, 0];
    for (const g of gradients) {
      velocity = 0.9 * velocity + g;
      p -= rate * velocity;
    }
    return p;
  },
  "sign-sgd": (gradients, rate) => gradients.reduce((p, g) => p - rate * Math.sign(g), 1),
  adagrad: (gradients, rate) => {
    let [p, sum] = [1, 0];
    for (const g of gradients) {
      sum += g * g;
      p -= (rate * g) / (Math.sqrt(sum) + 1e-10);
    }
    return p;
  },
  adadelta: (gradients, rate) => {
    let [p, squares, moves] = [1, 0, 0];
    for (const g of gradients) {
      squares = 0.9 * squares + 0.1 * g * g;
      const move = (Math.sqrt(moves + 1e-6) / Math.sqrt(squares + 1e-6)) * g;
      moves = 0.9 * moves + 0.1 * move * move;
      p -= rate * move;
    }
    return p;
  },
};

function adamOf(gradients: readonly number[], rate: number, decay = 0): number {
  let [p, m, v] = [1, 0, 0];
  gradients.forEach((g, i) => {
    p -= rate * decay * p;
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    p -= (rate * (m / (1 - 0.9 ** (i + 1)))) / (Math.sqrt(v / (1 - 0.999 ** (i + 1))) + 1e-8);
  });
  return p;
}

describe("optimizers", () => {
  test.each(optimizerNames)("%s steps as its formula says", async (name) => {
    const gradients = [0.5, -2, 0, 3];
    const build = buildOn();
    const type = { dtype: "float64", shape: [1] } as const;
    const p = build.variable("p", type);
    const [gradient, learningRate] = [build.input("g", type), build.input("rate", { dtype: "float64", shape: [] })];
    const { state, next } = optimizers[name];
    build.update(p, next(build, { name: p, gradient, learningRate, rows: undefined }));
    const start = tensorOf("float64", [1], [1]);
    const variables = await engine.variables(new Map([["p", start], ...state("p", start)]));
    const program = (await engine.compile(build.graph([]))).bind(variables);
    for (const g of gradients)
      await program.run(
        new Map([
          ["g", tensorOf("float64", [1], [g])],
          ["rate", number(0.1)],
        ]),
      );
    expectClose(await variables.read("p"), [written[name](gradients, 0.1)]);
  });
});
