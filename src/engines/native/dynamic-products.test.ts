// Input gradients of products of codes, whose other factor is rounded to 8 bits row by row, against the formula in float64.
import { describe, expect, test } from "vitest";
import { expectClose, sqnr } from "../../../test/support/close.ts";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import type { Graph } from "../../ir/graph.ts";
import { scalar, sizeOf, type Tensor, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import type { Precision } from "../engine.ts";
import { describePlan } from "./describe-plan.ts";
import { createNativeEngine } from "./native-engine.ts";

const engine = createNativeEngine();
const isReady = isNativeBuilt && engine.precisions.includes("mixed");
const why = isReady ? "" : ` (${isNativeBuilt ? "the processor has no bfloat16" : notBuilt})`;

interface Case {
  /** Of x before its last axis. */
  readonly rows: readonly number[];
  readonly inputs: number;
  readonly outputs: number;
  readonly op: "MatMul" | "Gemm" | "Gemm transB";
  readonly scales?: "tensor" | "columns" | "groups";
  readonly bits?: number;
  readonly stored?: boolean;
  /** Whether fused steps alone read the gradient, which is bfloat16 then. */
  readonly isRounded?: boolean;
  readonly isInputQuantized?: boolean;
}

interface Built {
  readonly graph: Graph;
  readonly gradient: string;
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly codes: readonly number[];
  /** Of each column. */
  readonly scales: readonly number[];
}

const isTransposed = ({ op }: Case): boolean => op === "Gemm transB";

/** Scales of columns are these powers of two, times the scale of all. */
const powerOf = (column: number): number => 2 ** (column % 5);

/**
 * Numbers that bfloat16 has, in rows of very different magnitudes. Each row begins with its largest times its scale, an odd number of
 * what all are multiples of, so that no quotient is nearer to a tie than 1/510.
 */
function gradientOf({ rows, outputs }: Case): Tensor {
  const random = createRandom(5);
  const count = sizeOf(rows);
  const magnitudes = Array.from({ length: count }, () => 2 ** random.integer(-30, 10));
  const value = (column: number): number => {
    const most = Math.floor(255 / powerOf(column));
    return column === 0 ? (random.integer(0, 2) === 0 ? -255 : 255) : random.integer(-most, most + 1);
  };
  return tensorOf(
    "float32",
    [...rows, outputs],
    Array.from({ length: count * outputs }, (_, i) => value(i % outputs) * magnitudes[Math.floor(i / outputs)]),
  );
}

/** y of quantized x and w, and dx of a dy that is given; the gradient, or what is computed of it, is the second output. */
function build(each: Case, dy = gradientOf(each)): Built {
  const { rows, inputs, outputs, op, scales = "columns", bits = 4, isRounded, isInputQuantized = true } = each;
  const random = createRandom(3);
  const on = buildOn();
  const one = (value: number): string => on.constant(scalar("float32", value));
  const most = 2 ** (bits - 1) - 1;
  const codes = Array.from({ length: inputs * outputs }, () => random.integer(-most, most + 1));
  const steps = Array.from({ length: outputs }, (_, j) => Math.fround(0.0123) * powerOf(j));
  const stepOf = (column: number): number => steps[scales === "tensor" ? 0 : column];
  const columnOf = (i: number): number => (isTransposed(each) ? Math.floor(i / inputs) : i % outputs);
  const shape = isTransposed(each) ? [outputs, inputs] : [inputs, outputs];
  const axis = isTransposed(each) ? 0 : 1;
  const scale =
    scales === "tensor"
      ? one(steps[0])
      : scales === "columns"
        ? on.constant(tensorOf("float32", [outputs], steps))
        : on.constant(random.uniformTensor("float32", axis === 0 ? [outputs, 2] : [2, outputs], 0.01, 0.1));
  const attributes =
    scales === "tensor" ? {} : scales === "columns" ? { axis } : { axis: 1 - axis, block_size: inputs / 2 };
  const w = each.stored
    ? on.node("DequantizeLinear", [on.constant(tensorOf("int8", shape, codes)), scale], attributes)
    : on.node(
        "FakeQuantize",
        [
          on.constant(
            tensorOf(
              "float32",
              shape,
              codes.map((code, i) => code * stepOf(columnOf(i))),
            ),
          ),
          scale,
          "",
          one(-most),
          one(most),
        ],
        attributes,
      );
  const given = on.input("x", { dtype: "float32", shape: [...rows, inputs] });
  const x = isInputQuantized ? on.node("FakeQuantize", [given, one(0.1), one(7), one(0), one(255)]) : given;
  const upstream = on.input("dy", { dtype: "float32", shape: dy.shape });
  const transB = Number(isTransposed(each));
  const y = op === "MatMul" ? on.node("MatMul", [x, w]) : on.node("Gemm", [x, w], { transB });
  const dx =
    op === "MatMul"
      ? on.node("MatMul", [upstream, on.node("Transpose", [w], { perm: [1, 0] })])
      : on.node("Gemm", [upstream, w], { transB: 1 - transB });
  const gradient = isRounded ? on.node("Neg", [dx]) : dx;
  const values = new Map([
    ["x", random.tensor("float32", [...rows, inputs])],
    ["dy", dy],
  ]);
  const columns = Array.from({ length: outputs }, (_, j) => stepOf(j));
  return { graph: on.graph([y, gradient]), gradient, inputs: values, codes, scales: columns };
}

async function run(built: Built, { precision = "mixed" as Precision, gradients = [built.gradient], threads = 2 } = {}) {
  const { graph, inputs, gradient } = built;
  const executable = await engine.compile(graph, { threads, precision, gradients });
  const variables = await engine.variables(new Map());
  const results = await executable.bind(variables).run(inputs);
  await executable.dispose();
  variables.dispose();
  const { steps } = await describePlan(graph, { threads, precision, gradients });
  return { dx: toNumbers(results.get(gradient) as Tensor), kernels: steps.map(({ kernel }) => kernel) };
}

const halfToEven = (value: number): number => {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
};

/** dx[t, i] = r[t] · Σ round(dy[t, o] · scale[o] / r[t]) · codes[i, o], r[t] = max |dy[t, o] · scale[o]| / 127 */
function expected(each: Case, { inputs, codes, scales }: Built): number[] {
  const dy = toNumbers(inputs.get("dy") as Tensor);
  const codeOf = (i: number, o: number): number =>
    codes[isTransposed(each) ? o * each.inputs + i : i * each.outputs + o];
  return Array.from({ length: sizeOf(each.rows) }, (_, t) => {
    const scaled = scales.map((scale, o) => dy[t * each.outputs + o] * scale);
    const step = Math.max(...scaled.map(Math.abs)) / 127;
    const rounded = scaled.map((value) => (step === 0 ? 0 : halfToEven(value / step)));
    return Array.from(
      { length: each.inputs },
      (_, i) => step * rounded.reduce((sum, value, o) => sum + value * codeOf(i, o), 0),
    );
  }).flat();
}

/** The gradient of what is not rounded at all. */
function unrounded(each: Case, { inputs, codes, scales }: Built): number[] {
  const dy = toNumbers(inputs.get("dy") as Tensor);
  const codeOf = (i: number, o: number): number =>
    codes[isTransposed(each) ? o * each.inputs + i : i * each.outputs + o];
  return Array.from({ length: sizeOf(each.rows) * each.inputs }, (_, at) => {
    const [t, i] = [Math.floor(at / each.inputs), at % each.inputs];
    return scales.reduce((sum, scale, o) => sum + dy[t * each.outputs + o] * scale * codeOf(i, o), 0);
  });
}

const dynamic = /^product:dynamic/;
const usual: Case = { rows: [133], inputs: 70, outputs: 93, op: "MatMul" };

/** Each row against the formula, as rows differ by orders of magnitude. */
function expectRows(
  dx: readonly number[],
  wanted: readonly number[],
  columns: number,
  as: "float32" | "bfloat16",
): void {
  for (let at = 0; at < wanted.length; at += columns)
    expectClose(dx.slice(at, at + columns), wanted.slice(at, at + columns), { as, what: `row ${at / columns}` });
}

describe.skipIf(!isReady)(`input gradients in 8 bits${why}`, () => {
  test.each([
    usual,
    { ...usual, op: "Gemm" },
    { ...usual, op: "Gemm transB" },
    { ...usual, rows: [3, 2, 41] },
    { ...usual, scales: "tensor" },
    { ...usual, op: "Gemm transB", bits: 8 },
    { ...usual, stored: true },
    { ...usual, op: "Gemm transB", stored: true, scales: "tensor" },
    { rows: [19], inputs: 301, outputs: 64, op: "MatMul" },
    { rows: [1], inputs: 300, outputs: 130, op: "Gemm transB" },
    { rows: [300], inputs: 1, outputs: 130, op: "Gemm" },
    { rows: [64], inputs: 33, outputs: 3000, op: "MatMul", bits: 8 },
    { rows: [700], inputs: 2000, outputs: 20, op: "MatMul" },
  ] satisfies Case[])("$op of $rows × $inputs by $inputs × $outputs", async (each) => {
    for (const isRounded of [false, true]) {
      const built = build({ ...each, isRounded });
      const { dx, kernels } = await run(built);
      const isLarge = 4 * sizeOf(each.rows) * each.inputs >= 1 << 16;
      expect(kernels).toContain(isRounded && isLarge ? "product:dynamic:rounded" : "product:dynamic");
      expect(kernels).not.toContain("fakeQuantize");
      const wanted = expected(each, built).map((value) => (isRounded ? -value : value));
      expectRows(dx, wanted, each.inputs, isRounded && isLarge ? "bfloat16" : "float32");
    }
  });

  test("the threads change nothing", async () => {
    const built = build(usual);
    expect((await run(built, { threads: 3 })).dx).toEqual((await run(built, { threads: 1 })).dx);
  });

  // A row's largest is less than 7 root mean squares: 10·log10(12 · (127 / 7)²) dB.
  test("normal gradients of columns of different scales keep 36 dB", async () => {
    const each: Case = { rows: [200], inputs: 96, outputs: 384, op: "MatMul" };
    const built = build(each, createRandom(9).tensor("float32", [200, 384]));
    expect(sqnr((await run(built)).dx, unrounded(each, built))).toBeGreaterThan(36);
  });

  test("a row with a number that is none, or infinite, is none; rows of zeros and of the smallest numbers are zeros", async () => {
    const dy = gradientOf(usual);
    const row = (at: number, value: number): void => {
      dy.data.fill(value as never, at * usual.outputs, (at + 1) * usual.outputs);
    };
    dy.data[5 * usual.outputs + 3] = Number.NaN;
    dy.data[6 * usual.outputs + 92] = Number.NEGATIVE_INFINITY;
    row(7, 0);
    row(8, 2 ** -126);
    const built = build(usual, dy);
    const { dx } = await run(built);
    const { inputs } = usual;
    expect(dx.slice(5 * inputs, 7 * inputs).every(Number.isNaN)).toBe(true);
    expect(dx.slice(7 * inputs, 9 * inputs).every((value) => value === 0)).toBe(true);
    const rest = (values: readonly number[]): number[] => [...values.slice(0, 5 * inputs), ...values.slice(9 * inputs)];
    expectRows(rest(dx), rest(expected(usual, built)), inputs, "float32");
  });

  test("a weight that is not a number is seen", async () => {
    const built = build(usual);
    const [w] = [...built.graph.constants.values()].filter(({ shape }) => shape.length === 2);
    w.data[4] = Number.NaN;
    expect((await run(built)).dx.every(Number.isNaN)).toBe(true);
  });

  test.each([
    ["weights with a scale for each group", { ...usual, scales: "groups" } as const, "product:bfloat16"],
    ["activations that are not quantized", { ...usual, isInputQuantized: false }, "product:bfloat16"],
    ["small products", { ...usual, rows: [5] }, "product"],
  ])("%s have none", async (_, each, kernel) => {
    const { kernels } = await run(build(each));
    expect(kernels).toContain(kernel);
    expect(kernels.filter((name) => dynamic.test(name))).toEqual([]);
  });

  test("float32 has none", async () => {
    const { kernels } = await run(build(usual), { precision: "float32" });
    expect(kernels.filter((name) => dynamic.test(name))).toEqual([]);
  });

  test("the same product is none where it is no gradient", async () => {
    const { kernels } = await run(build(usual), { gradients: [] });
    expect(kernels.filter((name) => dynamic.test(name))).toEqual([]);
  });

  test("weights that are quantized again for the gradient are the same", async () => {
    const built = build(usual);
    const [quantizer] = built.graph.nodes.filter(({ inputs, op }) => op === "FakeQuantize" && inputs[2] === "");
    const again = { ...quantizer, name: "again", outputs: ["again"] };
    const nodes = built.graph.nodes.map((node) => (node.op === "Transpose" ? { ...node, inputs: ["again"] } : node));
    const values = new Map([...built.graph.values, ["again", { dtype: "float32", shape: [70, 93] }] as const]);
    const { dx, kernels } = await run({ ...built, graph: { ...built.graph, nodes: [again, ...nodes], values } });
    expect(kernels).toContain("product:dynamic");
    expect(kernels).not.toContain("fakeQuantize");
    expect(dx).toEqual((await run(built)).dx);
  });

  test("a product along the other axis of square weights is none", async () => {
    const square: Case = { rows: [200], inputs: 96, outputs: 96, op: "MatMul" };
    const built = build(square);
    const wrong = built.graph.nodes.map((node) =>
      node.outputs[0] === built.gradient
        ? { ...node, inputs: [node.inputs[0], firstProduct(built.graph).inputs[1]] }
        : node,
    );
    const { kernels } = await run({ ...built, graph: { ...built.graph, nodes: wrong } });
    expect(kernels.filter((name) => dynamic.test(name))).toEqual([]);
  });
});

function firstProduct({ nodes }: Graph): Graph["nodes"][number] {
  const node = nodes.find(({ op }) => op === "MatMul");
  if (!node) throw new Error("the graph has no product");
  return node;
}
