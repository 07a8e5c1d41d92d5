import { describe, expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { tinyClassifier, tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import type { Graph } from "../ir/graph.ts";
import { tensorOf } from "../ir/tensor.ts";
import { readOnnx } from "../onnx/read.ts";
import { buildOn } from "../ops/infer.ts";
import { worseOf } from "./agreement.ts";
import { madeInputs, sizesOf } from "./made-inputs.ts";
import { formNames } from "./table.ts";
import { type FormsJob, type WrittenForms, writeForms } from "./write-forms.ts";

const random = createRandom(4);

const write = (graph: Graph, given: Partial<FormsJob> = {}): Promise<WrittenForms> =>
  writeForms({
    model: { graph, origin: { ...tinyOrigin, opset: 17 } },
    forms: formNames,
    blockSize: 32,
    sizes: new Map(),
    seed: 0,
    open: openDeployed,
    ...given,
  });

/** Embeddings of tokens and of types, a projection, its mean under a mask, and a head that is a Gemm. */
function encoder(width = 64): Graph {
  const build = buildOn();
  const [ids, types, mask] = ["input_ids", "token_type_ids", "attention_mask"].map((name) =>
    build.input(name, { dtype: "int64", shape: ["batch", "sequence"] }),
  );
  const table = (rows: number, name: string): string => build.constant(random.tensor("float32", [rows, width]), name);
  const words = build.node("Gather", [table(500, "words"), ids], { axis: 0 });
  const kinds = build.node("Gather", [table(2, "kinds"), build.node("Cast", [types], { to: "int32" })], { axis: 0 });
  const weight = build.constant(random.uniformTensor("float32", [width, 2 * width], -0.2, 0.2), "dense.weight");
  const dense = build.node("Tanh", [build.node("MatMul", [build.node("Add", [words, kinds]), weight])]);
  const held = build.node("Unsqueeze", [build.node("Cast", [mask], { to: "float32" }), build.ints([-1])]);
  const mean = build.node("ReduceMean", [build.node("Mul", [dense, held]), build.ints([1])], { keepdims: 0 });
  const head = build.constant(random.tensor("float32", [16, 2 * width]), "head.weight");
  return build.graph([
    build.node("Gemm", [mean, head, build.constant(random.tensor("float32", [16]))], { transB: 1 }, "y"),
  ]);
}

const graph = encoder();
const all = write(graph);

describe("forms that need no data", () => {
  test("an encoder in all of them: as large as their bits say, and near the float model", async () => {
    const { written, refused, float } = await all;
    const near = new Map(written.map(({ form, agreement }) => [form, agreement[0].sqnrDb ?? Number.POSITIVE_INFINITY]));
    const share = new Map(written.map(({ form, bytes }) => [form, bytes.length / float.bytes.length]));
    expect([...written.map(({ form }) => form), ...refused.map(({ form }) => form)].sort()).toEqual(
      [...formNames].sort(),
    );
    const least = { fp16: 45, q8: 20, uint8: 20, w8: 35, q4: 14, q4f16: 14 };
    for (const [form, decibels] of Object.entries(least))
      expect(near.get(form as "q8"), form).toBeGreaterThan(decibels);
    const most = { fp16: 0.53, q8: 0.31, uint8: 0.31, w8: 0.36, q4: 0.27, q4f16: 0.25 };
    for (const [form, size] of Object.entries(most)) expect(share.get(form as "q8"), form).toBeLessThan(size);
  });

  test("what is written is read back, and gives what was reported", async () => {
    for (const { bytes, agreement, form } of (await all).written) {
      const { graph: back } = readOnnx(bytes, { name: form });
      expect(back.inputs).toEqual(graph.inputs);
      expect(back.values.get("y")).toEqual({ dtype: "float32", shape: ["batch", 16] });
      expect(agreement.map(({ output }) => output)).toEqual(["y"]);
    }
  });

  test("a convolutional classifier: filters in bytes where weights alone are packed", async () => {
    const { written } = await write(tinyClassifier("float32", 1, 24), { forms: ["q8", "w8", "q4", "q4f16"] });
    expect(written.map(({ form }) => form)).toEqual(["q8", "w8", "q4", "q4f16"]);
    for (const { agreement, form } of written) expect(agreement[0].sqnrDb, form).toBeGreaterThan(18);
    expect(Buffer.from(written[1].bytes).includes("DequantizeLinear")).toBe(false);
  });

  test("a form that cannot hold the model is refused by its name; the others are written", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["n", 4] });
    const { written, refused } = await write(build.graph([build.node("Tanh", [x], {}, "y")]), {
      forms: ["fp16", "q8", "q4"],
    });
    expect(written.map(({ form }) => form)).toEqual(["fp16"]);
    expect(refused).toEqual([
      { form: "q8", reason: expect.stringContaining("no matrix product") },
      { form: "q4", reason: expect.stringContaining("no matrix product") },
    ]);
  });

  test("a model of products alone, without tables, in all forms", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["n", 64] });
    const product = build.node("MatMul", [x, build.constant(random.tensor("float32", [64, 96]))]);
    const { written } = await write(build.graph([build.node("Tanh", [product], {}, "y")]));
    expect(written.map(({ form }) => form)).toEqual(expect.arrayContaining(["fp16", "q8", "w8", "q4", "q4f16"]));
  });

  test.each([0, 1])(
    "layers that share a weight or a bias, each with factors of its own (transB %i)",
    async (transB) => {
      const build = buildOn();
      const x = build.input("x", { dtype: "float32", shape: ["n", 64] });
      const [weight, bias] = [[64, 64], [64]].map((shape) => build.constant(random.tensor("float32", shape)));
      const layers = [8, 0.5, 1].map((alpha) =>
        build.node("Gemm", [x, weight, bias], { transB, alpha, beta: 9 / alpha }),
      );
      const { written, refused } = await write(build.graph([build.node("Concat", layers, { axis: 1 }, "y")]), {
        forms: ["q8", "uint8", "w8", "q4"],
      });
      expect(refused).toEqual([]);
      for (const { agreement, form } of written) expect(agreement[0].sqnrDb, form).toBeGreaterThan(20);
    },
  );

  test("an output whose size depends on values is refused by its name where it differs", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["n", 64] });
    const product = build.node("MatMul", [x, build.constant(random.tensor("float32", [64, 64]))]);
    const { refused } = await write(build.graph([build.node("NonZero", [build.node("Relu", [product])], {}, "y")]), {
      forms: ["q4"],
    });
    expect(refused).toEqual([
      {
        form: "q4",
        reason: expect.stringMatching(/^Output "y" has shape .* of the float model .* cannot be compared/),
      },
    ]);
  });

  test("scores of which some are minus infinity are compared by the others", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["n", 64] });
    const product = build.node("MatMul", [x, build.constant(random.tensor("float32", [64, 96]))]);
    const mask = tensorOf(
      "float32",
      [96],
      Array.from({ length: 96 }, (_, i) => (i % 7 === 0 ? Number.NEGATIVE_INFINITY : 0)),
    );
    const graph = build.graph([build.node("Add", [product, build.constant(mask)], {}, "y")]);
    const { written, refused } = await write(graph, { forms: ["q8", "w8", "q4"] });
    expect(refused).toEqual([]);
    for (const { agreement, form } of written) {
      expect(agreement[0].sqnrDb, form).toBeGreaterThan(15);
      expect(agreement[0].cosine, form).toBeGreaterThan(0.98);
    }
  });

  test("of 8-bit weights alone, products may round what they multiply", async () => {
    const rounding = (await all).written.filter(({ bytes }) => Buffer.from(bytes).includes("accuracy_level"));
    expect(rounding.map(({ form }) => form)).toEqual(["w8"]);
  });

  test("of two comparisons the further counts, and what is no number is furthest", () => {
    const of = (cosine: number) => [{ output: "y", sqnrDb: 0, cosine }];
    for (const [a, b, worse] of [
      [1, 0.5, 0.5],
      [0.5, 1, 0.5],
      [1, Number.NaN, Number.NaN],
      [Number.NaN, 1, Number.NaN],
    ])
      expect(worseOf(of(a), of(b))).toEqual(of(worse));
  });

  test("what loses all is not written", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["n", 64] });
    let value = x;
    for (let layer = 0; layer < 6; layer++)
      value = build.node("Sin", [build.node("MatMul", [value, build.constant(random.tensor("float32", [64, 64]))])]);
    const { refused } = await write(build.graph([build.node("Identity", [value], {}, "y")]), { forms: ["q2"] });
    expect(refused).toEqual([
      { form: "q2", reason: expect.stringMatching(/^Little is left .*"y" at .* dB SQNR, cosine/) },
    ]);
  });

  test("a model that is quantized already is refused", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["n", 8] });
    const integers = build.constant(random.integerTensor("int8", [8, 4], -9, 9));
    const weight = build.node("DequantizeLinear", [integers, build.constant(tensorOf("float32", [], [0.1]))]);
    await expect(write(build.graph([build.node("MatMul", [x, weight], {}, "y")]))).rejects.toThrow("quantized already");
  });

  test("a model with float16 inputs and outputs keeps them", async () => {
    const origin = {
      ...tinyOrigin,
      opset: 17,
      half: new Map([
        ["y", "float16"],
        ["dense.weight", "float16"],
      ] as const),
    };
    const { written } = await write(graph, { model: { graph, origin }, forms: ["fp16", "q8", "q4"] });
    for (const { bytes } of written) expect(readOnnx(bytes, { name: "half" }).origin.half?.get("y")).toBe("float16");
  });

  test("the same bytes for the same model", async () => {
    const names = ["fp16", "q8", "q4"] as const;
    const { written } = await write(graph, { forms: names });
    const before = (await all).written.filter(({ form }) => names.some((name) => name === form));
    expect(written.map(({ bytes }) => bytes)).toEqual(before.map(({ bytes }) => bytes));
  });
});

/** All sizes open, as exporters leave them. */
function pictures(filter?: readonly number[], group = 1): Graph {
  const build = buildOn();
  const x = build.input("pixel_values", { dtype: "float32", shape: ["batch", "num_channels", "height", "width"] });
  if (!filter) return build.graph([build.node("Relu", [x])]);
  return build.graph([build.node("Conv", [x, build.constant(random.tensor("float32", filter))], { group })]);
}

describe("inputs that are made up", () => {
  test("indices are rows of the smallest table that they choose from, masks are 1, floats are normal", () => {
    const inputs = madeInputs(graph, sizesOf(graph, new Map([["sequence", 300]])), { seed: 1, batch: 0 });
    const values = (name: string): readonly number[] => Array.from(inputs.get(name)!.data, Number);
    expect(inputs.get("input_ids")?.shape).toEqual([1, 300]);
    expect([Math.min(...values("input_ids")) < 60, Math.max(...values("input_ids"))]).toEqual([
      true,
      expect.any(Number),
    ]);
    expect(Math.max(...values("input_ids"))).toBeLessThan(500);
    expect(new Set(values("token_type_ids"))).toEqual(new Set([0, 1]));
    expect(new Set(values("attention_mask"))).toEqual(new Set([1]));
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["n", 5000] });
    const [noise] = madeInputs(build.graph([build.node("Relu", [x])]), new Map([["n", 1]]), {
      seed: 1,
      batch: 0,
    }).values();
    const square = Array.from(noise.data, Number).reduce((sum, value) => sum + value ** 2, 0) / 5000;
    expect(Math.abs(square - 1)).toBeLessThan(0.1);
  });

  test("sizes: pictures, sequences, caches, and sums of others; unknown names are refused", () => {
    const build = buildOn();
    const add = (name: string, shape: readonly (string | number)[]): string =>
      build.input(name, { dtype: "float32", shape });
    const inputs = [
      add("picture", ["batch", 3, "height", "width"]),
      add("ids", ["batch", "sequence"]),
      add("past", ["batch", 2, "past_length", 4]),
      add("mask", ["batch", "past_length + sequence"]),
    ];
    const graph = build.graph(inputs.map((input) => build.node("Relu", [input])));
    const sizes = sizesOf(graph, new Map([["sequence", 7]]));
    expect(Object.fromEntries(sizes)).toEqual({
      batch: 1,
      height: 224,
      width: 224,
      sequence: 7,
      past_length: 0,
      "past_length + sequence": 7,
    });
    expect(sizesOf(pictures([8, 2, 3, 3], 2), new Map()).get("num_channels")).toBe(4);
    expect(sizesOf(pictures(), new Map()).get("num_channels")).toBe(3);
    expect(() => sizesOf(graph, new Map([["lenght", 7]]))).toThrow(
      "sizes names lenght; the model's symbolic sizes are",
    );
  });
});
