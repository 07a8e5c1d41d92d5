// What the native engine fuses and narrows, in both precisions, against the reference engine in float64.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Engine, Precision } from "../../src/engines/engine.ts";
import { loadAddon } from "../../src/engines/native/addon.ts";
import { describePlan } from "../../src/engines/native/describe-plan.ts";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { expectClose, sqnr } from "../support/close.ts";
import { isNativeBuilt, notBuilt } from "../support/native.ts";
import { createRandom } from "../support/random.ts";
import { cast } from "./example-case.ts";

interface Case {
  readonly batch: number;
  readonly channels: readonly [from: number, to: number];
  readonly spatial: readonly [number, number];
  readonly group?: number;
  readonly stride?: number;
  readonly dilation?: number;
  readonly kernel?: number;
  readonly bits?: number;
  readonly activations?: readonly [low: number, high: number, zeroPoint: number];
  readonly isPerTensor?: boolean;
  readonly rows?: readonly number[];
  readonly residual?: boolean;
}

const large = { batch: 5, channels: [16, 32], spatial: [24, 24] } as const;

const cases: Readonly<Record<string, Case>> = {
  "whole blocks, stored in 16 bits between groups": { ...large, residual: true },
  "one channel, batch 1": { batch: 1, channels: [1, 1], spatial: [7, 5] },
  "prime sizes": { batch: 3, channels: [5, 7], spatial: [13, 11], residual: true },
  "prime sizes, large": { batch: 3, channels: [17, 19], spatial: [37, 29], residual: true },
  "signed activations": { ...large, activations: [-128, 127, -3.4] },
  "zero point at the lower edge": { batch: 3, channels: [8, 9], spatial: [9, 9], activations: [0, 255, 0] },
  "zero point at the upper edge": { batch: 3, channels: [8, 9], spatial: [9, 9], activations: [0, 255, 255] },
  "zero point above all codes": { batch: 3, channels: [8, 9], spatial: [9, 9], activations: [0, 255, 300.3] },
  "zero point below all codes": { batch: 3, channels: [8, 9], spatial: [9, 9], activations: [0, 15, -30] },
  "8-bit weights": { batch: 2, channels: [16, 16], spatial: [9, 7], bits: 8 },
  "one scale for all weights": { batch: 2, channels: [16, 16], spatial: [9, 7], isPerTensor: true },
  "a few rows": { ...large, rows: [31, 2, 7] },
  "no rows": { ...large, rows: [] },
  groups: { batch: 2, channels: [6, 9], spatial: [8, 7], group: 3 },
  depthwise: { batch: 2, channels: [7, 7], spatial: [9, 9], group: 7 },
  "dilation 2": { batch: 2, channels: [5, 6], spatial: [13, 11], dilation: 2 },
  "stride 2, 1×1": { batch: 2, channels: [16, 24], spatial: [11, 7], stride: 2, kernel: 1 },
};

interface Built {
  readonly graph: Graph;
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** By name of what it is: the value in the graph. */
  readonly outputs: ReadonlyMap<string, string>;
  /** What the graph's variables are at the start: zeros, which take the gradients. */
  readonly variables: ReadonlyMap<string, Tensor>;
}

/** The backward part serves the updates alone, as in a training step: that is how gradients are told. */
function build(each: Case, dtype: "float32" | "float64"): Built {
  const random = createRandom(11);
  const { batch, channels, spatial, group = 1, stride = 1, dilation = 1, kernel = 3, bits = 4 } = each;
  const [low, high, zero] = each.activations ?? [0, 255, 117.2];
  const on = buildOn();
  const inputs = new Map<string, Tensor>();
  const feed = (name: string, given: Tensor): string => {
    const value = cast(dtype)(given) ?? given;
    inputs.set(name, value);
    return on.input(name, { dtype: value.dtype, shape: name === "rows" ? ["rows"] : value.shape });
  };
  const constant = (value: number): string => on.constant(scalar(dtype, value));
  // Away from the ties of rounding, so that float32 and float64 give the same codes.
  const untied = (shape: readonly number[], scale: number, from: number, to: number): Tensor => {
    const size = shape.reduce((product, length) => product * length, 1);
    const value = (): number => (random.integer(from, to) + random.uniform(-0.4, 0.4)) * scale;
    return tensorOf("float32", shape, Array.from({ length: size }, value));
  };
  const pad = ((kernel - 1) / 2) * dilation;
  const window = { strides: [stride, stride], pads: [pad, pad, pad, pad], dilations: [dilation, dilation], group };
  const attributes = { kernel_shape: [kernel, kernel], ...window };
  const offset = low - Math.round(zero);
  const x = feed("x", untied([batch, channels[0], ...spatial], 0.125, offset - 20, offset + high - low + 20));
  const qparams = [
    feed("scale", scalar("float32", 0.125)),
    feed("zero", scalar("float32", zero)),
    constant(low),
    constant(high),
  ];
  const max = 2 ** (bits - 1) - 1;
  const w = feed("w", untied([channels[1], channels[0] / group, kernel, kernel], 0.0625, -max - 2, max + 3));
  const scales = each.isPerTensor
    ? scalar("float32", 0.0625)
    : tensorOf(
        "float32",
        [channels[1]],
        Array.from({ length: channels[1] }, () => 0.0625),
      );
  const wQparams = [feed("w_scale", scales), undefined, constant(-max), constant(max)];
  const xq = on.node("FakeQuantize", [x, ...qparams]);
  const wq = on.node("FakeQuantize", [w, ...wQparams], each.isPerTensor ? {} : { axis: 0 });
  const y = on.node("Conv", [xq, wq], attributes);
  const gamma = feed("gamma", random.uniformTensor("float32", [channels[1]], 0.5, 1.5));
  const beta = feed("beta", random.tensor("float32", [channels[1]]));
  const [normalized, mean, variance] = on.nodes("BatchNormalizationTraining", [y, gamma, beta], [true, true, true], {
    epsilon: 1e-5,
  });
  const shape = on.type(y).shape.map(Number);
  const added = each.residual
    ? on.node("Add", [normalized, feed("residual", random.tensor("float32", shape))])
    : normalized;
  const relu = on.node("Relu", [added]);
  const next = [constant(0.05), constant(0), constant(0), constant(255)];
  const nextCodes = on.node("FakeQuantize", [relu, ...next]);
  const upstream = feed("upstream", random.tensor("float32", shape));
  const [drelu] = on.nodes("FakeQuantizeGradient", [upstream, relu, ...next], [true]);
  const summed = each.residual ? on.node("Add", [drelu, feed("other", random.tensor("float32", shape))]) : drelu;
  const dadded = on.node("ReluGradient", [summed, relu]);
  const [dy, dgamma, dbeta] = on.nodes(
    "BatchNormalizationTrainingGradient",
    [dadded, y, gamma, mean, variance],
    [true, true, true],
    { epsilon: 1e-5 },
  );
  const rows = each.rows && feed("rows", tensorOf("int64", [each.rows.length], each.rows));
  const dw = on.node("ConvGradientWeight", [dy, xq, rows], attributes);
  const variables = new Map<string, Tensor>();
  const zeros = (name: string, shape: readonly number[]): string => {
    const size = shape.reduce((product, length) => product * length, 1);
    variables.set(
      name,
      tensorOf(
        dtype,
        shape,
        Array.from({ length: size }, () => 0),
      ),
    );
    return on.variable(name, { dtype, shape });
  };
  const wShape = on.type(w).shape.map(Number);
  const sgd = { momentum: 0, weightDecay: 0, ...(rows === undefined ? {} : { axis: 0 }) };
  const rate = constant(-1);
  const [gradient] = on.nodes(
    "SgdUpdate",
    [zeros("dw", wShape), dw, zeros("velocity", wShape), rate, rows],
    [true],
    sgd,
  );
  on.update("dw", gradient);
  const dxq = on.node("ConvGradientInput", [dy, wq], { ...attributes, spatial: [...spatial] });
  const [dx, dscale, dzero] = on.nodes("FakeQuantizeGradient", [dxq, x, ...qparams], [true, true, true]);
  for (const [name, value] of Object.entries({ dgamma, dbeta, dx, dscale, dzero }))
    on.update(zeros(name, on.type(value).shape.map(Number)), value);
  const outputs = new Map(Object.entries({ y, mean, variance, relu, nextCodes }));
  return { graph: on.graph([...outputs.values()]), inputs, outputs, variables };
}

async function run(engine: Engine, built: Built, threads: number, precision: Precision) {
  const { graph, inputs, outputs } = built;
  const executable = await engine.compile(graph, { threads, precision });
  const variables = await engine.variables(built.variables);
  const results = await executable.bind(variables).run(inputs);
  const all = new Map([...outputs].map(([what, name]) => [what, results.get(name) as Tensor]));
  for (const name of built.variables.keys()) all.set(name, await variables.read(name));
  await executable.dispose();
  variables.dispose();
  return all;
}

const native = createNativeEngine();
const hasMixed = isNativeBuilt && loadAddon().information().bfloat16;
const label = isNativeBuilt ? "" : ` (${notBuilt})`;

/** As in the conformance test: long sums, and differences of sums. */
const widened: Readonly<Record<string, number>> = {
  dscale: 300,
  dzero: 300,
  dgamma: 64,
  dbeta: 64,
  dw: 64,
  dx: 64,
  variance: 8,
};

const exactIntegers = new Set(["y"]);

describe.skipIf(!isNativeBuilt).each(Object.entries(cases))(
  `the native engine's quantized layer, %s${label}`,
  (_, each) => {
    test.each([1, 3])("in float32 on %i threads", async (threads) => {
      const actual = await run(native, build(each, "float32"), threads, "float32");
      const expected = await run(createReferenceEngine(), build(each, "float64"), 1, "float32");
      for (const [what, value] of expected) {
        const given = actual.get(what) as Tensor;
        if (exactIntegers.has(what)) expect(toNumbers(given)).toEqual(toNumbers(value));
        else if (what !== "nextCodes")
          expectClose(given, cast("float32")(value) as Tensor, {
            what,
            as: "float32",
            widen: { factor: widened[what] ?? 8, because: "sums of many products, normalized" },
          });
      }
      expectCodesNear(actual, expected, 1e-3);
    });

    test.skipIf(!hasMixed)("in mixed precision on 3 threads", async () => {
      const actual = await run(native, build(each, "float32"), 3, "mixed");
      const expected = await run(createReferenceEngine(), build(each, "float64"), 1, "float32");
      const ratio = (what: string): number =>
        sqnr(toNumbers(actual.get(what) as Tensor), toNumbers(expected.get(what) as Tensor));
      expect(toNumbers(actual.get("y") as Tensor)).toEqual(toNumbers(expected.get("y") as Tensor));
      // Rounding to p bits has a relative error of 2^-p at most: −20·log10(2^-p) = 6.02·p dB, less the steps that add up.
      expect(ratio("relu"), "relu, float16: 11 bits").toBeGreaterThan(6.02 * 11 - 9);
      for (const what of ["dgamma", "dbeta", "dw", "dx"])
        if (toNumbers(expected.get(what) as Tensor).length > 0)
          expect(ratio(what), `${what}, bfloat16: 8 bits`).toBeGreaterThan(6.02 * 8 - 18);
      expectCodesNear(actual, expected, 0.05);
    });
  },
);

/** Codes differ by one step at most, and few of them: those next to a tie. */
function expectCodesNear(
  actual: ReadonlyMap<string, Tensor>,
  expected: ReadonlyMap<string, Tensor>,
  maxShare: number,
): void {
  const [given, wanted] = [actual, expected].map((all) =>
    toNumbers(all.get("nextCodes") as Tensor).map((value) => Math.round(value / 0.05)),
  );
  const differences = given.map((code, i) => Math.abs(code - wanted[i]));
  expect(Math.max(...differences)).toBeLessThanOrEqual(1);
  expect(differences.filter((each) => each > 0).length).toBeLessThanOrEqual(Math.max(1, maxShare * given.length));
}

describe.skipIf(!isNativeBuilt)(`values beyond a precision's range${label}`, () => {
  test.each([
    ["x", "a NaN in a quantized input"],
    ["zero", "a zero point that is NaN"],
  ])("%s: %s is seen in what an integer convolution gives, and in the gradients", async (name) => {
    const built = build(cases["prime sizes"], "float32");
    built.inputs.get(name)?.data.fill(Number.NaN as never, 0, 1);
    for (const precision of native.precisions) {
      const results = await run(native, built, 2, precision);
      for (const what of ["y", "relu", "dw"])
        expect(toNumbers(results.get(what) as Tensor).some(Number.isNaN), `${precision} ${what}`).toBe(true);
    }
  });

  test.skipIf(!hasMixed)(
    "an activation beyond float16 is infinite in mixed precision, and so no loss stays finite",
    async () => {
      const on = buildOn();
      const shape = [2, 16, 32, 32];
      const x = on.input("x", { dtype: "float32", shape });
      const gamma = on.constant(
        tensorOf(
          "float32",
          [16],
          Array.from({ length: 16 }, () => 1e5),
        ),
      );
      const beta = on.constant(
        tensorOf(
          "float32",
          [16],
          Array.from({ length: 16 }, () => 0),
        ),
      );
      const [large] = on.nodes("BatchNormalizationTraining", [x, gamma, beta], [true, false, false], { epsilon: 1e-5 });
      const [again] = on.nodes("BatchNormalizationTraining", [large, gamma, beta], [true, false, false], {
        epsilon: 1e-5,
      });
      const loss = on.node("ReduceMean", [on.node("Mul", [again, again])], { keepdims: 0 });
      const inputs = new Map([["x", createRandom(2).tensor("float32", shape)]]);
      const built = { graph: on.graph([loss]), inputs, outputs: new Map([["loss", loss]]), variables: new Map() };
      const finite = await run(native, built, 2, "float32");
      const infinite = await run(native, built, 2, "mixed");
      expect([finite, infinite].map((all) => Number.isFinite(toNumbers(all.get("loss") as Tensor)[0]))).toEqual([
        true,
        false,
      ]);
    },
  );
});

const root = join(import.meta.dirname, "../..");

/** Runs this module, which may import sources, in a process in which oneDNN and our own kernels have AVX2 alone. */
async function withAvx2(script: string): Promise<unknown> {
  mkdirSync(join(root, "build"), { recursive: true });
  const folder = mkdtempSync(join(root, "build/avx2-"));
  try {
    const [input, file] = ["script.js", "joined.js"].map((name) => join(folder, name));
    writeFileSync(input, script);
    // Here, since Node for arm64 under emulation finds it for x64 alone.
    const { build: joinModules } = await import("rolldown");
    await joinModules({ input, platform: "node", external: /^[^./]/, output: { file } });
    const limits = { FROSTBIT_MAX_CPU_ISA: "avx2", DNNL_MAX_CPU_ISA: "AVX2", ONEDNN_MAX_CPU_ISA: "AVX2" };
    return JSON.parse(execFileSync(process.execPath, [file], { env: { ...process.env, ...limits }, encoding: "utf8" }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe.skipIf(!isNativeBuilt)(`what runs in integers${label}`, () => {
  const inIntegers = async (each: Case): Promise<boolean> =>
    (await describePlan(build(each, "float32").graph)).integerProducts.length === 1;

  test("convolutions of all shapes, and no others", async () => {
    const { exactIntegers, oneDnn } = loadAddon().information();
    // oneDNN 3 has only plain loops for depthwise convolutions of codes whose zero point is known at the run.
    const others = oneDnn.startsWith("2.") ? [] : ["depthwise"];
    const inFloats: string[] = [];
    for (const name of Object.keys(cases).filter((each) => !["8-bit weights", "groups"].includes(each)))
      if (!(await inIntegers(cases[name]))) inFloats.push(name);
    expect(inFloats).toEqual(others);
    expect(await inIntegers(cases["8-bit weights"])).toBe(exactIntegers);
    const wide = await describePlan(build({ ...large, activations: [0, 1023, 3] }, "float32").graph);
    expect(wide.floatProducts.map(({ reason }) => reason)).toEqual(["its input has 1024 codes, more than 8 bits hold"]);
  });

  test("no step that is planned for these shapes is one of oneDNN's plain loops", async () => {
    for (const each of Object.values(cases))
      for (const precision of native.precisions) {
        const { steps } = await describePlan(build(each, "float32").graph, { threads: 3, precision });
        expect(steps.filter(({ implementation }) => implementation.startsWith("ref"))).toEqual([]);
      }
  });
});

const mayLimit = isNativeBuilt && process.arch === "x64" && process.env["DNNL_MAX_CPU_ISA"] === undefined;

describe.skipIf(!mayLimit)(`with AVX2 alone${label}`, () => {
  test("mixed precision is refused", async () => {
    const script = `
      import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
      import { createNumerics } from "../../src/engines/native/numerics.ts";
      import { loadAddon } from "../../src/engines/native/addon.ts";
      let refusal = "";
      try { createNumerics(loadAddon(), "mixed", 1); } catch (error) { refusal = error.message; }
      console.log(JSON.stringify({ precisions: createNativeEngine().precisions, refusal }));`;
    const { precisions, refusal } = (await withAvx2(script)) as { precisions: string[]; refusal: string };
    expect(precisions).toEqual(["float32"]);
    expect(refusal).toMatch(/mixed needs an x64 processor with bfloat16 instructions .* Use float32\.$/);
  });

  test("weights of 8 bits are multiplied in floats, those of up to 64 either way in integers", async () => {
    const script = `
      import { buildOn, tensorOf } from "../../src/index.ts";
      import { describePlan } from "../../src/engines/native/describe-plan.ts";
      import { loadAddon } from "../../src/engines/native/addon.ts";
      const planned = await Promise.all([127, 65, 64, 7].map(async (most) => {
        const build = buildOn();
        const one = (value) => build.constant(tensorOf("float32", [], [value]));
        const codes = (x, low, high) => build.node("FakeQuantize", [x, one(0.5), undefined, one(low), one(high)]);
        const x = build.input("x", { dtype: "float32", shape: [2, 16, 9, 9] });
        const w = build.constant(tensorOf("float32", [16, 16, 3, 3], new Float32Array(2304)));
        const matrix = build.constant(tensorOf("float32", [9, 9], new Float32Array(81)));
        const conv = build.node("Conv", [codes(x, 0, 255), codes(w, -most, most)], { kernel_shape: [3, 3] }, "conv");
        const product = build.node("MatMul", [codes(x, 0, 255), codes(matrix, -most, most)], {}, "product");
        const { steps, integerProducts, floatProducts } = await describePlan(build.graph([conv, product]));
        const kernels = steps.filter(({ node }) => ["conv", "product"].includes(node)).map(({ kernel }) => kernel);
        return { most, kernels: kernels.filter((kernel) => /^(convolution|product)/.test(kernel)), integerProducts,
          reasons: floatProducts.map(({ reason }) => reason) };
      }));
      const { kernels, exactIntegers } = loadAddon().information();
      console.log(JSON.stringify({ kernels, exactIntegers, planned }));`;
    const why = (most: number): string =>
      `its weight's codes go to ${most}; without AVX-512's VNNI instructions only those up to 64 are multiplied exactly`;
    const inFloats = (most: number): object => ({
      most,
      kernels: ["convolution", "product"],
      integerProducts: [],
      reasons: [why(most), why(most)],
    });
    const inIntegers = (most: number): object => ({
      most,
      kernels: ["convolution:integer", "product:integer"],
      integerProducts: ["conv", "product"],
      reasons: [],
    });
    expect(await withAvx2(script)).toEqual({
      kernels: "avx2",
      exactIntegers: false,
      planned: [inFloats(127), inFloats(65), inIntegers(64), inIntegers(7)],
    });
  });
});
