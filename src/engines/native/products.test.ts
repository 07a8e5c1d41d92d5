// Matrix products of codes, of bfloat16 and of operands that lie transposed, against plain loops in float64.
import { describe, expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import type { Attribute, Graph } from "../../ir/graph.ts";
import { numbersOf, scalar, sizeOf, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import type { Precision } from "../engine.ts";
import { loadAddon } from "./addon.ts";
import { createNativeEngine } from "./native-engine.ts";

const engine = createNativeEngine();
const random = createRandom(11);
const normal = (...shape: number[]): Tensor =>
  tensorOf(
    "float32",
    shape,
    Array.from({ length: sizeOf(shape) }, () => Math.fround(random.normal())),
  );

/** The result of a graph, and the kernels of the steps that gave it. */
async function run(graph: Graph, inputs: ReadonlyMap<string, Tensor>, precision: Precision = "float32") {
  const addon = loadAddon() as { Program: ReturnType<typeof loadAddon>["Program"] };
  const { Program } = addon;
  const kernels: string[] = [];
  addon.Program = class extends Program {
    constructor(...values: ConstructorParameters<typeof Program>) {
      super(...values);
      kernels.push(...values[2].map(({ kernel }) => kernel));
    }
  };
  try {
    const program = (await engine.compile(graph, { threads: 2, precision })).bind(await engine.variables(new Map()));
    await program.run(inputs);
    const y = (await program.run(inputs)).get(graph.outputs[0]);
    return { y: numbersOf(y ?? scalar("float32", Number.NaN)), kernels };
  } finally {
    addon.Program = Program;
  }
}

interface Matrix {
  readonly data: ArrayLike<number>;
  readonly rows: number;
  readonly columns: number;
}

const matrixOf = ({ data, shape }: Tensor): Matrix => ({
  data: Float64Array.from(data, Number),
  rows: shape[shape.length - 2],
  columns: shape[shape.length - 1],
});

const flipped = ({ data, rows, columns }: Matrix): Matrix => ({
  data: Float64Array.from({ length: data.length }, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]),
  rows: columns,
  columns: rows,
});

/** Sums of products, and of their magnitudes. */
function plainProduct(a: Matrix, b: Matrix): { sums: number[]; magnitudes: number[] } {
  const [sums, magnitudes] = [[] as number[], [] as number[]];
  for (let i = 0; i < a.rows; i++)
    for (let j = 0; j < b.columns; j++) {
      let [sum, magnitude] = [0, 0];
      for (let l = 0; l < a.columns; l++) {
        const term = a.data[i * a.columns + l] * b.data[l * b.columns + j];
        sum += term;
        magnitude += Math.abs(term);
      }
      sums.push(sum);
      magnitudes.push(magnitude);
    }
  return { sums, magnitudes };
}

const isReady = isNativeBuilt && engine.precisions.includes("mixed");
const why = isReady ? "" : ` (${isNativeBuilt ? "the processor has no bfloat16" : notBuilt})`;

describe.skipIf(!isReady)(`products in bfloat16${why}`, () => {
  const check = async (op: string, given: readonly Tensor[], attributes: Readonly<Record<string, Attribute>> = {}) => {
    const build = buildOn();
    const names = given.map(({ shape }, i) => build.input(`x${i}`, { dtype: "float32", shape: [...shape] }));
    const graph = build.graph([build.node(op, names, attributes)]);
    const { y, kernels } = await run(graph, new Map(given.map((value, i) => [`x${i}`, value])), "mixed");
    expect(kernels).toContain("product:bfloat16");
    const a = attributes["transA"] === 1 ? flipped(matrixOf(given[0])) : matrixOf(given[0]);
    const b = attributes["transB"] === 1 ? flipped(matrixOf(given[1])) : matrixOf(given[1]);
    const { sums, magnitudes } = plainProduct(a, b);
    const bias = given[2] ? numbersOf(given[2]) : [0];
    sums.forEach((sum, i) => {
      const error = Math.abs(y[i] - sum - bias[i % bias.length]);
      expect(error, `element ${i}`).toBeLessThanOrEqual(2 ** -8 * magnitudes[i] + 1e-6);
    });
    expect(sums.some((sum, i) => Math.abs(y[i] - sum - bias[i % bias.length]) > 1e-4)).toBe(true);
  };

  test("odd sizes", () => check("MatMul", [normal(131, 67), normal(67, 93)]));
  test("one row", () => check("MatMul", [normal(1, 301), normal(301, 97)]));
  test("one column", () => check("MatMul", [normal(301, 97), normal(97, 1)]));
  test("more columns than our own loops take", () => check("MatMul", [normal(131, 67), normal(67, 301)]));
  test("sums in several parts", () => check("MatMul", [normal(45, 2100), normal(2100, 61)]));
  test.each([
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
  ])("Gemm, transA %i, transB %i, with a bias", (transA, transB) =>
    check("Gemm", [transA ? normal(67, 131) : normal(131, 67), transB ? normal(93, 67) : normal(67, 93), normal(93)], {
      transA,
      transB,
    }),
  );

  test.each([
    ["rows in several parts", 1300, 31, 1536, 0, 0],
    ["fewer rows than columns", 17, 64, 1100, 0, 0],
    ["transA", 141, 70, 201, 1, 0],
    ["transB", 141, 70, 201, 0, 1],
    ["transA and transB, of odd sizes", 141, 71, 201, 1, 1],
    ["many sums", 300, 9000, 75, 1, 0],
  ])("what groups alone read is rounded where it is made: %s", async (_, rows, inner, columns, transA, transB) => {
    const a = transA ? normal(inner, rows) : normal(rows, inner);
    const b = transB ? normal(columns, inner) : normal(inner, columns);
    const build = buildOn();
    const names = [a, b].map(({ shape }, i) => build.input(`x${i}`, { dtype: "float32", shape: [...shape] }));
    const graph = build.graph([build.node("Neg", [build.node("Gemm", names, { transA, transB })])]);
    const { y, kernels } = await run(graph, new Map([a, b].map((value, i) => [`x${i}`, value])), "mixed");
    expect(kernels).toContain("product:bfloat16:rounded");
    const [left, right] = [matrixOf(a), matrixOf(b)];
    const { sums, magnitudes } = plainProduct(transA ? flipped(left) : left, transB ? flipped(right) : right);
    const worst = sums.findIndex((sum, i) => Math.abs(y[i] + sum) > 2 ** -8 * (magnitudes[i] + Math.abs(sum)) + 1e-6);
    expect(worst).toBe(-1);
  });

  test("small products are not rounded", async () => {
    const build = buildOn();
    const [a, b] = [normal(13, 17), normal(17, 19)];
    const names = [a, b].map(({ shape }, i) => build.input(`x${i}`, { dtype: "float32", shape: [...shape] }));
    const graph = build.graph([build.node("MatMul", names)]);
    const { y, kernels } = await run(
      graph,
      new Map([
        ["x0", a],
        ["x1", b],
      ]),
      "mixed",
    );
    expect(kernels).not.toContain("product:bfloat16");
    expectClose(y, plainProduct(matrixOf(a), matrixOf(b)).sums, { as: "float32" });
  });
});

interface Quantized {
  readonly rows: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly zero: number;
  readonly op: "MatMul" | "Gemm" | "Gemm transB";
  readonly isPerTensor?: boolean;
  /** The weights are constants of this type and not rounded when they are read. */
  readonly stored?: "int8" | "int4";
}

/** Scales are powers of two, so that products of codes and their scale are exact but for the rounding of the sum. */
async function checkCodes({ rows, inputs, outputs, zero, op, isPerTensor = false, stored }: Quantized) {
  const isTransposed = op === "Gemm transB";
  const integers = (count: number, low: number, high: number) =>
    Array.from({ length: count }, () => random.integer(low, high + 1));
  const values = integers(rows * inputs, 0, 255).map((code) => code - zero);
  const nearest = Math.min(255, Math.max(0, zero));
  const codes = values.map((value) => Math.min(255, Math.max(0, value + nearest)) - nearest);
  const limit = stored === "int4" ? 7 : 60;
  const weights = integers(inputs * outputs, -limit, limit);
  const steps = Array.from({ length: isPerTensor ? 1 : outputs }, (_, j) => 2 ** -((j % 5) + 3));
  const stepOf = (j: number) => steps[isPerTensor ? 0 : j];
  const columnOf = (i: number) => (isTransposed ? Math.floor(i / inputs) : i % outputs);
  const build = buildOn();
  const x = tensorOf(
    "float32",
    [rows, inputs],
    values.map((value) => value * 2 ** -4),
  );
  const shape = isTransposed ? [outputs, inputs] : [inputs, outputs];
  const w = stored
    ? tensorOf(stored, shape, weights)
    : tensorOf(
        "float32",
        shape,
        weights.map((weight, i) => weight * stepOf(columnOf(i))),
      );
  const constant = (value: number) => build.constant(scalar("float32", value));
  const low = constant(0);
  const input = build.input("x", { dtype: "float32", shape: [rows, inputs] });
  const quantizedX = build.node("FakeQuantize", [input, constant(2 ** -4), constant(zero), low, constant(255)]);
  const scale = build.constant(isPerTensor ? scalar("float32", steps[0]) : tensorOf("float32", [outputs], steps));
  const attributes = isPerTensor ? {} : { axis: isTransposed ? 0 : 1 };
  const bounds = [constant(-limit), constant(limit)];
  const quantizedW = stored
    ? build.node("DequantizeLinear", [build.constant(w), scale], attributes)
    : build.node("FakeQuantize", [build.constant(w), scale, "", ...bounds], attributes);
  const bias = Array.from({ length: outputs }, (_, j) => j - 3);
  const operands = [quantizedX, quantizedW];
  const y =
    op === "MatMul"
      ? build.node("MatMul", operands)
      : build.node("Gemm", [...operands, build.constant(tensorOf("float32", [outputs], bias))], {
          transB: Number(isTransposed),
        });
  const result = await run(build.graph([y]), new Map([["x", x]]));
  expect(result.kernels).toContain("product:integer");
  // Nobody reads the weights but as codes.
  expect(result.kernels).not.toContain("fakeQuantize");
  const matrix = { data: weights, rows: isTransposed ? outputs : inputs, columns: isTransposed ? inputs : outputs };
  const { sums } = plainProduct({ data: codes, rows, columns: inputs }, isTransposed ? flipped(matrix) : matrix);
  const expected = sums.map((sum, i) =>
    Math.fround(Math.fround(sum) * 2 ** -4 * stepOf(i % outputs) + (op === "MatMul" ? 0 : bias[i % outputs])),
  );
  expect(Array.from(result.y)).toEqual(expected);
}

describe.skipIf(!isNativeBuilt)(`products of codes are exact${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test.each([
    { rows: 37, inputs: 23, outputs: 19, zero: 128, op: "MatMul" },
    { rows: 37, inputs: 1031, outputs: 19, zero: 3, op: "MatMul" },
    { rows: 64, inputs: 129, outputs: 70, zero: 0, op: "MatMul", isPerTensor: true },
    { rows: 37, inputs: 1031, outputs: 19, zero: 128, op: "Gemm transB" },
    { rows: 3, inputs: 40, outputs: 130, zero: 17, op: "Gemm" },
    { rows: 1, inputs: 1, outputs: 1, zero: 9, op: "Gemm", isPerTensor: true },
  ] satisfies Quantized[])("$op of $rows×$inputs by $inputs×$outputs, zero point $zero", (each) => checkCodes(each));

  test.each([
    { rows: 37, inputs: 1031, outputs: 19, zero: 3, op: "MatMul", stored: "int8" },
    { rows: 3, inputs: 40, outputs: 130, zero: 17, op: "Gemm", stored: "int8", isPerTensor: true },
    { rows: 37, inputs: 1031, outputs: 19, zero: 128, op: "Gemm transB", stored: "int4" },
  ] satisfies Quantized[])("$op of weights stored as $stored", (each) => checkCodes(each));

  test.each([300, -30])("a zero point of %i, beyond the codes, is the nearest of them", (zero) =>
    checkCodes({ rows: 21, inputs: 33, outputs: 35, zero, op: "MatMul" }),
  );

  test("a weight that is not a number is seen in its column alone", async () => {
    const build = buildOn();
    const input = build.input("x", { dtype: "float32", shape: [2, 3] });
    const constant = (value: number) => build.constant(scalar("float32", value));
    const x = build.node("FakeQuantize", [input, constant(1), constant(0), constant(0), constant(255)]);
    const w = build.constant(tensorOf("float32", [3, 2], [1, 1, Number.NaN, 1, 1, 1]));
    const scale = build.constant(tensorOf("float32", [2], [1, 1]));
    const quantized = build.node("FakeQuantize", [w, scale, "", constant(-7), constant(7)], { axis: 1 });
    const graph = build.graph([build.node("MatMul", [x, quantized])]);
    const { y } = await run(graph, new Map([["x", tensorOf("float32", [2, 3], [1, 2, 3, 4, 5, 6])]]));
    expect(Array.from(y)).toEqual([Number.NaN, 6, Number.NaN, 15]);
  });
});

/** Heads of an attention: [batch, sequence, heads · width] as [batch, heads, sequence, width]. */
function headsOf({ data, shape: [batch, sequence, heads, width] }: Tensor): Matrix[] {
  const at = (n: number, s: number, h: number, i: number) => ((n * sequence + s) * heads + h) * width + i;
  return Array.from({ length: batch * heads }, (_, head) => ({
    data: Float64Array.from({ length: sequence * width }, (_, i) =>
      Number(data[at(Math.floor(head / heads), Math.floor(i / width), head % heads, i % width)]),
    ),
    rows: sequence,
    columns: width,
  }));
}

describe.skipIf(!isNativeBuilt)(`products of what lies transposed${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  const shape = [2, 13, 3, 7];
  const [q, k, v] = [normal(...shape), normal(...shape), normal(...shape)];
  const given = new Map([
    ["q", q],
    ["k", k],
    ["v", v],
  ]);
  const start = () => {
    const build = buildOn();
    const heads = (name: string, perm: readonly number[]) =>
      build.node("Transpose", [build.input(name, { dtype: "float32", shape })], { perm });
    return { build, heads };
  };
  const expected = () =>
    headsOf(q).flatMap((head, i) => {
      const scores = plainProduct(head, flipped(headsOf(k)[i])).sums;
      return plainProduct({ data: scores, rows: 13, columns: 13 }, headsOf(v)[i]).sums;
    });

  test("attention's products copy nothing", async () => {
    const { build, heads } = start();
    const scores = build.node("MatMul", [heads("q", [0, 2, 1, 3]), heads("k", [0, 2, 3, 1])]);
    const { y, kernels } = await run(build.graph([build.node("MatMul", [scores, heads("v", [0, 2, 1, 3])])]), given);
    expect(kernels).toEqual(["product", "product"]);
    expectClose(y, expected(), { as: "float32", widen: { factor: 4, because: "a product of products" } });
  });

  test("transposes of transposes, and what others read too, are the same", async () => {
    const { build, heads } = start();
    const swap = { perm: [0, 1, 3, 2] };
    const left = heads("q", [0, 2, 1, 3]);
    const right = build.node("Transpose", [build.node("Transpose", [heads("k", [0, 2, 3, 1])], swap)], swap);
    const scores = build.node("MatMul", [left, right]);
    const product = build.node("MatMul", [scores, heads("v", [0, 2, 1, 3])]);
    const graph = build.graph([build.node("Sub", [build.node("Add", [product, left]), left])]);
    const { y } = await run(graph, given);
    expectClose(y, expected(), { as: "float32", widen: { factor: 8, because: "a product of products, and a sum" } });
  });

  test("an order that has no rows in memory is carried out", async () => {
    const { build, heads } = start();
    const scores = build.node("MatMul", [heads("q", [3, 2, 0, 1]), heads("k", [3, 2, 1, 0])]);
    const { y } = await run(build.graph([scores]), new Map([...given].slice(0, 2)));
    const matrices = ({ data }: Tensor) =>
      Array.from({ length: 21 }, (_, i) => ({
        data: Float64Array.from({ length: 26 }, (_, j) => Number(data[j * 21 + (i % 3) * 7 + Math.floor(i / 3)])),
        rows: 2,
        columns: 13,
      }));
    const sums = matrices(q).flatMap((matrix, i) => plainProduct(matrix, flipped(matrices(k)[i])).sums);
    expectClose(y, sums, { as: "float32" });
  });
});
