// Input gradients of convolutions of codes, whose other factor is rounded to 8 bits image by image, against plain loops in float64.
import { describe, expect, test } from "vitest";
import { expectClose, sqnr } from "../../../test/support/close.ts";
import {
  type ConvolutionCase,
  geometry,
  outputSize,
  plainInputGradient,
  runGradientStep,
} from "../../../test/support/convolution-gradients.ts";
import { bfloat16ToNumber, numberToBfloat16 } from "../../../test/support/half-bits.ts";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import type { Precision } from "../engine.ts";
import { loadAddon } from "./addon.ts";
import { describePlan } from "./describe-plan.ts";
import { createNativeEngine } from "./native-engine.ts";

const kernel = "convolutionInputGradient:dynamic";
const engine = createNativeEngine();
const isReady = isNativeBuilt && loadAddon().information().hasBfloat16 && engine.precisions.includes("mixed");
const why = isReady ? "" : ` (${isNativeBuilt ? "the processor has no bfloat16" : notBuilt})`;

const shape = { images: 3, inputs: 16, outputs: 16, in: [8, 8], kernel: [3, 3], pads: [1, 1, 1, 1] } as const;

const cases: Readonly<Record<string, ConvolutionCase>> = {
  "16 channels": shape,
  "an odd number of vectors of channels": { ...shape, inputs: 48, outputs: 80, in: [6, 4] },
  "more inputs than outputs": { ...shape, inputs: 64, in: [5, 12], threads: 3 },
  "odd sizes": { ...shape, images: 5, inputs: 32, in: [13, 11], threads: 3 },
  "fewer pixels than are summed up at once": { ...shape, in: [1, 3] },
  "no pads": { ...shape, in: [9, 6], pads: [0, 0, 0, 0] },
  "uneven pads": { ...shape, in: [6, 9], pads: [0, 3, 1, 2] },
  "pads wider than the window": { ...shape, images: 1, in: [2, 3], pads: [4, 5, 6, 4] },
  "pads that leave pixels out": { ...shape, in: [9, 9], pads: [1, 1, -2, -1] },
  "a window of one pixel": { ...shape, outputs: 64, in: [7, 7], kernel: [1, 1], pads: [0, 0, 0, 0] },
  "a window of 5 × 2": { ...shape, in: [9, 6], kernel: [5, 2], pads: [2, 0, 1, 1] },
  "more threads than images": { ...shape, images: 2, threads: 3 },
};

const sizeOfOutput = (each: ConvolutionCase): number => outputSize(each).reduce((a, b) => a * b, each.outputs);

/** Images of very different magnitudes. */
function operands(each: ConvolutionCase) {
  const random = createRandom(7);
  const size = sizeOfOutput(each);
  const magnitudes = Array.from({ length: each.images }, () => 2 ** random.integer(-20, 10));
  return {
    dy: Float32Array.from({ length: each.images * size }, (_, i) =>
      bfloat16ToNumber(numberToBfloat16(random.normal() * magnitudes[Math.floor(i / size)])),
    ),
    codes: Int8Array.from({ length: each.outputs * each.inputs * each.kernel[0] * each.kernel[1] }, () =>
      random.integer(-128, 128),
    ),
    scales: Float32Array.from({ length: each.outputs }, () => random.uniform(0.01, 0.1)),
  };
}

async function inputGradient(each: ConvolutionCase, dy: Float32Array, codes: Int8Array, scales: Float32Array) {
  const dx = new Uint16Array(each.images * each.in[0] * each.in[1] * each.inputs);
  const ints = [...geometry(each), scales.length];
  const given = Uint16Array.from(dy, numberToBfloat16);
  await runGradientStep({ kernel, ints, threads: each.threads ?? 2 }, [given, codes, scales, dx]);
  return Array.from(dx, bfloat16ToNumber);
}

const halfToEven = (value: number): number => {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
};

/** Less than half, by the fraction of a multiple of the golden ratio. */
const moveOf = (i: number): number => Math.fround(Math.fround(Math.imul(i, 0x9e3779b9)) * (0x1ff / 2 ** 41));

/**
 * round(dy · scale / r + move) · r of each image, r = max |dy · scale| / 127, with the divisions that float32 has; the move is
 * that of an element's place in its image.
 */
function rounded(each: ConvolutionCase, dy: Float32Array, scales: Float32Array): Float64Array {
  const size = sizeOfOutput(each);
  const scaled = dy.map((value, i) => value * scales[scales.length === 1 ? 0 : i % each.outputs]);
  const steps = Array.from({ length: each.images }, (_, n) =>
    Math.fround(
      scaled.subarray(n * size, (n + 1) * size).reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127,
    ),
  );
  return Float64Array.from(scaled, (value, i) => {
    const step = steps[Math.floor(i / size)];
    return step === 0 ? 0 : step * halfToEven(Math.fround(value * Math.fround(1 / step) + moveOf(i % size)));
  });
}

/** Each image, as images differ by orders of magnitude. */
function expectImages(each: ConvolutionCase, dx: readonly number[], wanted: Float64Array): void {
  const size = dx.length / each.images;
  for (let at = 0; at < dx.length; at += size)
    expectClose(dx.slice(at, at + size), wanted.slice(at, at + size), { as: "bfloat16", what: `image ${at / size}` });
}

describe.skipIf(!isReady)(`input gradients of convolutions in 8 bits${why}`, () => {
  for (const [name, each] of Object.entries(cases))
    test.each([
      ["for each channel", each.outputs],
      ["for all", 1],
    ] as const)(`${name}: a scale %s`, async (_, count) => {
      const { dy, codes, scales } = operands(each);
      const given = scales.slice(0, count);
      const wanted = plainInputGradient(each, rounded(each, dy, given), codes);
      expectImages(each, await inputGradient(each, dy, codes, given), wanted);
    });

  test("an image with a number that is none, or infinite, is none; those of zeros and of the smallest numbers are zeros", async () => {
    const each = { ...shape, images: 5 };
    const { dy, codes, scales } = operands(each);
    const size = sizeOfOutput(each);
    dy[size + 3] = Number.NaN;
    dy[2 * size + 92] = Number.NEGATIVE_INFINITY;
    dy.fill(0, 3 * size, 4 * size);
    dy.fill(2 ** -126, 4 * size);
    const dx = await inputGradient(each, dy, codes, scales);
    const first = { ...each, images: 1 };
    const wanted = plainInputGradient(first, rounded(first, dy.subarray(0, size), scales), codes);
    expectImages(first, dx.slice(0, size), wanted);
    expect(dx.slice(size, 3 * size).every(Number.isNaN)).toBe(true);
    expect(dx.slice(3 * size).every((value) => value === 0)).toBe(true);
  });

  test.each([{ strides: [2, 2] }, { dilations: [2, 1] }, { inputs: 17 }, { outputs: 24 }] as const)(
    "refuses %o",
    async (changed) => {
      const each: ConvolutionCase = { ...shape, ...changed };
      const { dy, codes, scales } = operands(each);
      await expect(inputGradient(each, dy, codes, scales)).rejects.toThrow("does not serve");
    },
  );

  test("refuses scales that fit no channels", async () => {
    const { dy, codes, scales } = operands(shape);
    await expect(inputGradient(shape, dy, codes, scales.slice(0, 2))).rejects.toThrow(
      "has scales that fit no channels",
    );
  });
});

interface Graphs {
  readonly isInputQuantized?: boolean;
  readonly strides?: readonly [number, number];
}

/** A convolution of codes and the gradient of its input, of a dy that is given. */
function build({ isInputQuantized = true, strides = [1, 1] }: Graphs = {}) {
  const random = createRandom(3);
  const on = buildOn();
  const one = (value: number): string => on.constant(scalar("float32", value));
  const codes = Int8Array.from({ length: 16 * 16 * 9 }, () => random.integer(-7, 8));
  const scales = random.uniformTensor("float32", [16], 0.01, 0.1);
  const perOutput = toNumbers(scales);
  const floats = tensorOf(
    "float32",
    [16, 16, 3, 3],
    Array.from(codes, (code, i) => code * perOutput[Math.floor(i / 144)]),
  );
  const w = on.node("FakeQuantize", [on.constant(floats), on.constant(scales), "", one(-7), one(7)], { axis: 0 });
  const given = on.input("x", { dtype: "float32", shape: [4, 16, 16, 16] });
  const x = isInputQuantized ? on.node("FakeQuantize", [given, one(0.1), one(7), one(0), one(255)]) : given;
  const size = 16 / strides[0];
  const upstream = on.input("dy", { dtype: "float32", shape: [4, 16, size, size] });
  const attributes = { pads: [1, 1, 1, 1], strides };
  const y = on.node("Conv", [x, w], attributes);
  const dx = on.node("ConvGradientInput", [upstream, w], { ...attributes, spatial: [16, 16] });
  const inputs = new Map([
    ["x", random.tensor("float32", [4, 16, 16, 16])],
    ["dy", random.tensor("float32", [4, 16, size, size])],
  ]);
  return { graph: on.graph([y, dx]), gradient: dx, inputs };
}

async function run({ graph, gradient, inputs }: ReturnType<typeof build>, precision: Precision) {
  const gradients = [gradient];
  const executable = await engine.compile(graph, { threads: 2, precision, gradients });
  const variables = await engine.variables(new Map());
  const results = await executable.bind(variables).run(inputs);
  await executable.dispose();
  variables.dispose();
  const { steps } = await describePlan(graph, { threads: 2, precision, gradients });
  return { dx: toNumbers(results.get(gradient) as Tensor), kernels: steps.map((step) => step.kernel) };
}

describe.skipIf(!isReady)(`plans with input gradients of convolutions in 8 bits${why}`, () => {
  // An image's largest is less than 6 root mean squares, and a move has the noise of a rounding: 10·log10(12 / 2 · (127 / 6)²) dB.
  test("normal gradients keep 34 dB, and the weights are not dequantized for them", async () => {
    const built = build();
    const { dx, kernels } = await run(built, "mixed");
    expect(kernels).toContain(kernel);
    expect(kernels).not.toContain("fakeQuantize");
    const exact = await run(built, "float32");
    expect(exact.kernels).not.toContain(kernel);
    expect(sqnr(dx, exact.dx)).toBeGreaterThan(34);
  });

  test.each([
    ["activations that are not quantized", { isInputQuantized: false }],
    ["strides", { strides: [2, 2] }],
  ] as const)("convolutions with %s have none", async (_, changed) => {
    expect((await run(build(changed), "mixed")).kernels).not.toContain(kernel);
  });
});
