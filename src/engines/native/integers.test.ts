// Convolutions and products of weights that are stored as integers: which multiply codes, and what comes out.
import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import type { Graph } from "../../ir/graph.ts";
import { numbersOf, scalar, sizeOf, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { describePlan } from "./describe-plan.ts";
import { whyNotIntegers } from "./integers.ts";
import { usesOf } from "./lowering.ts";
import { createNativeEngine } from "./native-engine.ts";

interface Weights {
  readonly dtype: "int8" | "int4" | "uint8";
  readonly scale: Tensor;
  readonly zero?: number;
  readonly attributes?: Readonly<Record<string, number>>;
}

const [batch, channels, outputs, size] = [2, 4, 8, 5];
const codeAt = (i: number): number => ((i * 7) % 15) - 7;
const pixelAt = (i: number): number => (i * 31) % 256;
const scales = tensorOf(
  "float32",
  [outputs],
  Array.from({ length: outputs }, (_, m) => 2 ** -(m % 3)),
);

/** A convolution of 1×1 of codes with zero point 3, with a bias. */
function convolutionOf({ dtype, scale, zero, attributes = { axis: 0 } }: Weights): Graph {
  const build = buildOn();
  const constant = (value: number): string => build.constant(scalar("float32", value));
  const x = build.input("x", { dtype: "float32", shape: [batch, channels, size, size] });
  const quantized = build.node("FakeQuantize", [x, constant(1), constant(3), constant(0), constant(255)]);
  const codes = tensorOf(
    dtype,
    [outputs, channels, 1, 1],
    Array.from({ length: outputs * channels }, (_, i) => codeAt(i) + (zero ?? 0)),
  );
  const zeros =
    zero === undefined
      ? ""
      : build.constant(
          tensorOf(dtype, scale.shape, scale.data.length === 1 ? [zero] : new Array<number>(outputs).fill(zero)),
        );
  const w = build.node("DequantizeLinear", [build.constant(codes), build.constant(scale), zeros], attributes);
  const bias = build.constant(
    tensorOf(
      "float32",
      [outputs],
      Array.from({ length: outputs }, (_, m) => m - 4),
    ),
  );
  return build.graph([build.node("Conv", [quantized, w, bias], { kernel_shape: [1, 1] })]);
}

const pixels = tensorOf(
  "float32",
  [batch, channels, size, size],
  Array.from({ length: batch * channels * size ** 2 }, (_, i) => pixelAt(i) - 3),
);

/** What powers of two and small integers give exactly. */
const expected = (scaleOf: (m: number) => number): number[] =>
  Array.from({ length: batch * outputs * size ** 2 }, (_, i) => {
    const [pixel, m, n] = [i % size ** 2, Math.floor(i / size ** 2) % outputs, Math.floor(i / (outputs * size ** 2))];
    let sum = 0;
    for (let c = 0; c < channels; c++)
      sum += (pixelAt((n * channels + c) * size ** 2 + pixel) - 3) * codeAt(m * channels + c);
    return sum * scaleOf(m) + m - 4;
  });

async function run(graph: Graph, threads: number): Promise<number[]> {
  const engine = createNativeEngine();
  const executable = await engine.compile(graph, { threads });
  const result = await executable.bind(await engine.variables(new Map())).run(new Map([["x", pixels]]));
  await executable.dispose();
  return Array.from(numbersOf(result.get(graph.outputs[0]) ?? scalar("float32", Number.NaN)));
}

const perChannel = (m: number): number => 2 ** -(m % 3);
const one = scalar("float32", 0.5);

describe.skipIf(!isNativeBuilt)(`weights stored as integers${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test.each<[string, Weights, (m: number) => number]>([
    ["int8, a scale per channel", { dtype: "int8", scale: scales }, perChannel],
    ["int4, a scale per channel", { dtype: "int4", scale: scales }, perChannel],
    ["int8, one scale", { dtype: "int8", scale: one }, () => 0.5],
    ["int8, a zero point of 0", { dtype: "int8", scale: scales, zero: 0 }, perChannel],
  ])("are multiplied as they are: %s", async (_, weights, scaleOf) => {
    const graph = convolutionOf(weights);
    expect((await describePlan(graph)).integerProducts).toHaveLength(1);
    for (const threads of [1, 3]) expect(await run(graph, threads)).toEqual(expected(scaleOf));
  });

  test.each<[string, Weights, (m: number) => number]>([
    ["it has a zero point", { dtype: "int8", scale: scales, zero: 5 }, perChannel],
    ["is stored as uint8", { dtype: "uint8", scale: scales, zero: 9 }, perChannel],
  ])("are multiplied as floats where %s", async (reason, weights, scaleOf) => {
    const graph = convolutionOf(weights);
    expect((await describePlan(graph)).floatProducts[0].reason).toContain(reason.replace("it has", "has"));
    expect(await run(graph, 2)).toEqual(expected(scaleOf));
  });
});

test.skipIf(!isNativeBuilt)("weights in groups are multiplied as floats", async () => {
  const build = buildOn();
  const bounds = (low: number, high: number): string[] => [build.scalar(low), build.scalar(high)];
  const x = build.input("x", { dtype: "float32", shape: [4, 64] });
  const codes = build.node("FakeQuantize", [x, build.scalar(1), "", ...bounds(-128, 127)]);
  const ones = (...shape: number[]): string =>
    build.constant(tensorOf("float32", shape, new Array<number>(sizeOf(shape)).fill(1)));
  const grouped = { axis: 0, block_size: 32 };
  const weight = build.node("FakeQuantize", [ones(64, 8), ones(2, 8), "", ...bounds(-7, 7)], grouped);
  const graph = build.graph([build.node("MatMul", [codes, weight])]);
  expect((await describePlan(graph)).floatProducts.map(({ reason }) => reason)).toEqual([
    "its weight has a scale per group",
  ]);
});

/** Alike in all places but the last: every sum of pairs is as large as it can be. */
const ends = (shape: readonly number[], usual: number, last: number): Tensor => {
  const value = tensorOf("float32", shape, new Array<number>(sizeOf(shape)).fill(usual));
  value.data[value.data.length - 1] = last;
  return value;
};

test.skipIf(!isNativeBuilt).each([
  [64, 0],
  [-64, 0],
  [127, 255],
  [-128, 128],
])("codes at the ends of their ranges do not saturate: weights of %i, zero point %i", async (max, zero) => {
  const engine = createNativeEngine();
  const [channels, size] = [259, 4];
  const build = buildOn();
  const codes = (value: string, low: number, high: number, zeroPoint = ""): string =>
    build.node("FakeQuantize", [value, build.scalar(1), zeroPoint, build.scalar(low), build.scalar(high)]);
  const x = ends([2, channels, size, size], 255 - zero, -zero);
  const [w, matrix] = [ends([3, channels, 3, 3], max, -1), ends([size * size * channels, 5], max, -1)];
  const name = build.input("x", { dtype: "float32", shape: x.shape });
  const flat = build.node("Reshape", [name, build.ints([2, -1])]);
  const low = Math.min(-Math.abs(max), max);
  const weights = [w, matrix].map((value) => codes(build.constant(value), low, Math.max(1, Math.abs(max) - 1, max)));
  const outputs = [
    build.node("Conv", [codes(name, 0, 255, build.scalar(zero)), weights[0]], { pads: [1, 1, 1, 1] }),
    build.node("MatMul", [codes(flat, 0, 255, build.scalar(zero)), weights[1]]),
  ];
  const graph = build.graph(outputs);
  const expected = await runGraph(createReferenceEngine(), graph, new Map([["x", x]]));
  const actual = await runGraph(engine, graph, new Map([["x", x]]), 2);
  for (const each of graph.outputs) expect(actual.get(each)?.data).toEqual(expected.get(each)?.data);
});

test.skipIf(!isNativeBuilt)("sums that may not fit 32 bits are of floats, in convolutions as in products", async () => {
  const build = buildOn();
  const codes = (value: string, low: number, high: number, zero = ""): string =>
    build.node("FakeQuantize", [value, ...[build.scalar(1), zero, build.scalar(low), build.scalar(high)]]);
  const channels = 2 ** 14 + 1;
  const x = build.input("x", { dtype: "float32", shape: [1, channels, 2, 2] });
  const w = build.input("w", { dtype: "float32", shape: [1, channels, 2, 2] });
  const y = build.node("Conv", [codes(x, 0, 255), codes(w, -8, 7)], { kernel_shape: [2, 2] });
  const { floatProducts } = await describePlan(build.graph([y]));
  expect(floatProducts.map(({ reason }) => reason)).toEqual(["sums of 65540 products of codes do not fit 32 bits"]);
});

/** Of as many channels, with weights from −most to most. */
function whyNot(channels: number, most: number, implementation: string): string | undefined {
  const build = buildOn();
  const codes = (value: string, low: number, high: number): string =>
    build.node("FakeQuantize", [value, ...[build.scalar(1), "", build.scalar(low), build.scalar(high)]]);
  const x = build.input("x", { dtype: "float32", shape: [1, channels, 8, 8] });
  const w = build.input("w", { dtype: "float32", shape: [16, channels, 3, 3] });
  const y = build.node("Conv", [codes(x, 0, 255), codes(w, -most, most)], { kernel_shape: [3, 3] });
  const graph = build.graph([y]);
  const numerics = { integers: 128, implementation: () => implementation };
  return whyNotIntegers(graph.nodes[graph.nodes.length - 1], graph, usesOf(graph), numerics as never);
}

test("where oneDNN rounds sums of convolutions to float32, those that it holds are in integers", () => {
  const asMatrices = "gemm_s8u8s32:ref";
  expect(whyNot(64, 7, asMatrices)).toBeUndefined();
  expect(whyNot(64, 127, asMatrices)).toBe("oneDNN rounds sums of up to 18653760 to float32 on this processor");
  expect(whyNot(64, 127, "jit_int8:sve_512")).toBeUndefined();
});
