// Stored integers of 2 to 8 bits, several to a byte where they are constants: their values and the gradients of their scales, against the
// formulas.
import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import type { DType } from "../../ir/dtype.ts";
import { numbersOf, sizeOf, type Tensor } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { describePlan } from "./describe-plan.ts";
import { createNativeEngine } from "./native-engine.ts";

const random = createRandom(31);
const engine = createNativeEngine();

const ranges = {
  uint2: [0, 4],
  int2: [-2, 2],
  uint4: [0, 16],
  int4: [-8, 8],
  uint8: [0, 256],
  int8: [-128, 128],
} as const satisfies Partial<Record<DType, readonly [from: number, to: number]>>;
type Stored = keyof typeof ranges;
const types = Object.keys(ranges) as readonly Stored[];

interface Form {
  readonly shape: readonly [rows: number, columns: number];
  readonly scales: readonly number[];
  readonly attributes: Readonly<Record<string, number>>;
  /** Which scale an element has. */
  readonly scaleOf: (row: number, column: number) => number;
}

/** Odd sizes, longer than what is worked on at a time. */
const forms: Readonly<Record<string, Form>> = {
  "groups of rows": {
    shape: [83, 579],
    scales: [2, 579],
    attributes: { axis: 0, block_size: 64 },
    scaleOf: (row, column) => Math.floor(row / 64) * 579 + column,
  },
  "groups of columns": {
    shape: [7, 1203],
    scales: [7, 2],
    attributes: { axis: 1, block_size: 700 },
    scaleOf: (row, column) => row * 2 + Math.floor(column / 700),
  },
  "a scale for each row": {
    shape: [5, 1031],
    scales: [5],
    attributes: { axis: 0 },
    scaleOf: (row) => row,
  },
  "a scale for each column": {
    shape: [67, 517],
    scales: [517],
    attributes: { axis: 1 },
    scaleOf: (_, column) => column,
  },
  "one scale": { shape: [33, 101], scales: [], attributes: {}, scaleOf: () => 0 },
};

interface Stores {
  readonly codes: Tensor;
  readonly scale: Tensor;
  readonly zeroPoint: Tensor | undefined;
}

function draw(type: Stored, { shape, scales }: Form, hasZeroPoint: boolean): Stores {
  const [from, to] = ranges[type];
  return {
    codes: random.integerTensor(type, [...shape], from, to),
    scale: random.uniformTensor("float32", [...scales], 0.5, 2),
    zeroPoint: hasZeroPoint ? random.integerTensor(type, [...scales], from, to) : undefined,
  };
}

/** What `visit` is told of each element: its index, its scale's, and its code less the zero point. */
function eachElement(form: Form, { codes, zeroPoint }: Stores, visit: (i: number, at: number, code: number) => void) {
  const [, columns] = form.shape;
  const [q, z] = [numbersOf(codes), zeroPoint && numbersOf(zeroPoint)];
  for (let i = 0; i < q.length; i++) {
    const at = form.scaleOf(Math.floor(i / columns), i % columns);
    visit(i, at, q[i] - (z?.[at] ?? 0));
  }
}

describe.skipIf(!isNativeBuilt)(`stored integers${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  const cases = types.flatMap((type) =>
    Object.keys(forms).flatMap((form) => [true, false].map((hasZeroPoint) => ({ type, form, hasZeroPoint }))),
  );

  test.each(cases)("$type, $form, zero points: $hasZeroPoint", async ({ type, form: name, hasZeroPoint }) => {
    const form = forms[name];
    const stores = draw(type, form, hasZeroPoint);
    const dy = random.tensor("float32", [...form.shape]);
    const build = buildOn();
    const scale = build.input("scale", { dtype: "float32", shape: form.scales });
    const codes = build.constant(stores.codes);
    const zero = stores.zeroPoint && build.constant(stores.zeroPoint);
    const y = build.node("DequantizeLinear", [codes, scale, zero], form.attributes);
    const given = build.input("dy", { dtype: "float32", shape: form.shape });
    const dscale = build.node("DequantizeLinearGradient", [given, codes, scale, zero], form.attributes);
    const executable = await engine.compile(build.graph([y, dscale]), { threads: 3 });
    const found = await executable
      .bind(await engine.variables(new Map()))
      .run(new Map([["scale", stores.scale] as const, ["dy", dy] as const]));
    await executable.dispose();
    const [expected, sums, magnitudes] = [
      new Float32Array(sizeOf(form.shape)),
      new Float64Array(sizeOf(form.scales)),
      new Float64Array(sizeOf(form.scales)),
    ];
    const [scales, g] = [numbersOf(stores.scale), numbersOf(dy)];
    eachElement(form, stores, (i, at, code) => {
      expected[i] = code * scales[at];
      sums[at] += g[i] * code;
      magnitudes[at] += Math.abs(g[i] * code);
    });
    expect(numbersOf(found.get(y)!)).toEqual(expected);
    const sum = numbersOf(found.get(dscale)!);
    const worst = Math.max(...Array.from(sum, (value, i) => Math.abs(value - sums[i]) / magnitudes[i]));
    expect(worst).toBeLessThan(64 * 2 ** -24);
  });

  test.each(types)("constants of %s take no more memory than their bits", async (type) => {
    const [rows, columns] = [256, 1024];
    const [from, to] = ranges[type];
    const build = buildOn();
    const codes = build.constant(random.integerTensor(type, [rows, columns], from, to));
    const scale = build.input("scale", { dtype: "float32", shape: [] });
    const graph = build.graph([build.node("DequantizeLinear", [codes, scale])]);
    const { constantBytes } = await describePlan(graph, { precision: "float32" });
    expect(constantBytes).toBe((rows * columns * Number(type.replace(/\D+/, ""))) / 8);
  });
});

const isReady = isNativeBuilt && engine.precisions.includes("mixed");

describe.skipIf(!isReady)("in mixed precision", () => {
  test("products read stored weights that are bfloat16 from the start", async () => {
    const form = forms["groups of rows"];
    const [inputs, outputs] = form.shape;
    const stores = draw("uint2", form, true);
    const build = buildOn();
    const scale = build.input("scale", { dtype: "float32", shape: form.scales });
    const zero = stores.zeroPoint && build.constant(stores.zeroPoint);
    const weight = build.node("DequantizeLinear", [build.constant(stores.codes), scale, zero], form.attributes);
    const [x, dy] = [inputs, outputs].map((columns, i) =>
      build.input(["x", "dy"][i], { dtype: "float32", shape: [3, columns] }),
    );
    const y = build.node("MatMul", [x, weight]);
    const dx = build.node("MatMul", [dy, build.node("Transpose", [weight], { perm: [1, 0] })]);
    const graph = build.graph([y, dx]);
    const { steps } = await describePlan(graph, { precision: "mixed" });
    const kernels = steps.map(({ kernel }) => kernel);
    expect(kernels.filter((kernel) => kernel !== "fused")).toEqual([
      "dequantize:bfloat16",
      "product:bfloat16",
      "product:bfloat16",
    ]);
    expect(kernels.filter((kernel) => kernel === "fused")).toHaveLength(2);
    // Whole numbers: bfloat16 holds them, and float32 their sums.
    const whole = (...shape: readonly number[]): Tensor => random.integerTensor("float32", shape, -4, 5);
    const fed = new Map([
      ["x", whole(3, inputs)],
      ["dy", whole(3, outputs)],
      ["scale", whole(...form.scales)],
    ]);
    const executable = await engine.compile(graph, { precision: "mixed", threads: 2 });
    const found = await executable.bind(await engine.variables(new Map())).run(fed);
    await executable.dispose();
    const [products, gradients] = [new Float32Array(3 * outputs), new Float32Array(3 * inputs)];
    const [a, b, s] = ["x", "dy", "scale"].map((name) => numbersOf(fed.get(name)!));
    eachElement(form, stores, (i, at, code) => {
      const [row, column] = [Math.floor(i / outputs), i % outputs];
      for (let sample = 0; sample < 3; sample++) {
        products[sample * outputs + column] += a[sample * inputs + row] * code * s[at];
        gradients[sample * inputs + row] += b[sample * outputs + column] * code * s[at];
      }
    });
    expect(numbersOf(found.get(y)!)).toEqual(products);
    expect(numbersOf(found.get(dx)!)).toEqual(gradients);
  });
});
