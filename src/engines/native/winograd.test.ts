// Convolutions and their gradients by Winograd's algorithm against plain loops in float64.
import { describe, expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import {
  type ConvolutionCase,
  geometry,
  outputSize,
  plainConvolution,
  plainInputGradient,
  plainWeightGradient,
  runGradientStep,
} from "../../../test/support/convolution-gradients.ts";
import { bfloat16ToNumber, numberToBfloat16 } from "../../../test/support/half-bits.ts";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import { loadAddon } from "./addon.ts";

const shape = { images: 3, inputs: 16, outputs: 16, in: [8, 8], kernel: [3, 3], pads: [1, 1, 1, 1] } as const;

const cases: Readonly<Record<string, ConvolutionCase>> = {
  "16 channels": shape,
  "an odd number of vectors of channels": { ...shape, inputs: 48, outputs: 80, in: [6, 4] },
  "more inputs than outputs": { ...shape, inputs: 64, outputs: 16, in: [5, 12], threads: 3 },
  "odd sizes": { ...shape, images: 5, inputs: 32, in: [13, 11], threads: 3 },
  "no pads": { ...shape, in: [9, 6], pads: [0, 0, 0, 0] },
  "uneven pads": { ...shape, in: [6, 9], pads: [0, 3, 1, 2] },
  "pads wider than the image": { ...shape, images: 1, in: [2, 3], pads: [4, 5, 6, 4] },
  "one pixel of output": { ...shape, in: [3, 3], pads: [0, 0, 0, 0] },
  "negative pads at the end": { ...shape, in: [9, 9], pads: [1, 1, -2, -1] },
  "a row wider than a block of tiles": { ...shape, images: 2, in: [3, 150] },
  "more threads than images": { ...shape, images: 2, threads: 3 },
};

const rowCases: Readonly<Record<string, ConvolutionCase>> = {
  "some rows": { ...shape, outputs: 64, rows: [2, 3, 5, 7, 40, 63] },
  "rows in no order": { ...shape, outputs: 64, rows: [63, 2, 3, 40, 5] },
  "one row": { ...shape, inputs: 64, outputs: 64, rows: [-3] },
  "a row twice": { ...shape, rows: [4, 4, 0] },
  "no rows": { ...shape, rows: [] },
  "17 rows": { ...shape, inputs: 32, outputs: 32, rows: Array.from({ length: 17 }, (_, i) => i + 9) },
};

const normals = (seed: number, count: number): Float32Array => {
  const random = createRandom(seed);
  return Float32Array.from({ length: count }, () => random.normal());
};

function operands(each: ConvolutionCase) {
  const [height, width] = outputSize(each);
  const pixels = each.images * each.in[0] * each.in[1] * each.inputs;
  const random = createRandom(7);
  return {
    dy: normals(1, each.images * height * width * each.outputs),
    w: normals(2, each.outputs * each.inputs * 9),
    x: normals(3, pixels),
    codes: Uint8Array.from({ length: pixels }, () => random.integer(0, 256)),
  };
}

/** Of what the format holds. */
const rounded = ({ dy, w, x, codes }: ReturnType<typeof operands>, { stored, numbers }: Format) => ({
  dy: numbers(stored(dy)),
  x: numbers(stored(x)),
  w,
  codes,
});

async function convolution(
  each: ConvolutionCase,
  x: Float32Array,
  w: Float32Array,
  bias: Float32Array | undefined,
): Promise<Float32Array> {
  const [height, width] = outputSize(each);
  const y = new Float32Array(each.images * height * width * each.outputs);
  const step = { kernel: "convolutionWinograd", ints: geometry(each), threads: each.threads ?? 2 };
  await runGradientStep(step, [x, w, bias, y]);
  return y;
}

/** Of what is compared with float64. */
const closeAs = ({ name }: Format) =>
  name === "float32"
    ? { as: name }
    : {
        as: name,
        widen: { factor: 2, because: "sums of four numbers are rounded once more before they are multiplied" },
      };

/** What images hold, and the kernels that take it. */
interface Format {
  readonly name: "float32" | "bfloat16";
  readonly suffix: string;
  /** `values` as the kernels take them, and what they are then. */
  readonly stored: (values: Float32Array) => Float32Array | Uint16Array;
  readonly numbers: (stored: Float32Array | Uint16Array) => Float32Array;
}

const float32: Format = {
  name: "float32",
  suffix: "",
  stored: (values) => values,
  numbers: (stored) => Float32Array.from(stored),
};
const bfloat16: Format = {
  name: "bfloat16",
  suffix: ":bfloat16",
  stored: (values) => Uint16Array.from(values, numberToBfloat16),
  numbers: (stored) => Float32Array.from(stored, bfloat16ToNumber),
};

async function inputGradient(each: ConvolutionCase, dy: Float32Array, w: Float32Array, format: Format) {
  const { stored, numbers, suffix } = format;
  const dx = stored(new Float32Array(each.images * each.in[0] * each.in[1] * each.inputs));
  const kernel = `convolutionInputGradientWinograd${suffix}`;
  await runGradientStep({ kernel, ints: geometry(each), threads: each.threads ?? 2 }, [stored(dy), w, dx]);
  return numbers(dx);
}

async function weightGradient(
  each: ConvolutionCase,
  x: Uint8Array | Float32Array,
  dy: Float32Array,
  quantizer: readonly [zero: number, scale: number] | undefined,
  { stored, suffix }: Format,
): Promise<Float32Array> {
  const count = each.rows?.length ?? each.outputs;
  const dw = new Float32Array(count * each.inputs * 9);
  const rows = each.rows && BigInt64Array.from(each.rows.concat(0), BigInt);
  const ints = [...geometry(each), x instanceof Uint8Array ? 1 : 0, -1, count];
  const floats = quantizer ? quantizer.map((value) => Float32Array.of(value)) : [undefined, undefined];
  const step = { kernel: `weightGradientWinograd${suffix}`, ints, threads: each.threads ?? 2 };
  await runGradientStep(step, [stored(dy), x instanceof Uint8Array ? x : stored(x), ...floats, rows, dw], count);
  return dw;
}

const allRows = (each: ConvolutionCase) => each.rows ?? Array.from({ length: each.outputs }, (_, i) => i);
const information = isNativeBuilt ? loadAddon().information() : undefined;
const isReady = information?.hasWinograd ?? false;
const formats = information?.hasBfloat16 ? [float32, bfloat16] : [float32];
const why = isReady ? "" : ` (${isNativeBuilt ? "the processor has no AVX-512" : notBuilt})`;

describe.skipIf(!isReady)(`convolutions by Winograd's algorithm${why}`, () => {
  for (const [name, each] of Object.entries(cases)) {
    for (const [title, bias] of [
      ["the convolution", undefined],
      ["the convolution with a bias", normals(5, each.outputs)],
    ] as const)
      test(`${name}: ${title}`, async () => {
        const { x, w } = operands(each);
        expectClose(await convolution(each, x, w, bias), plainConvolution(each, x, w, bias), { as: "float32" });
      });

    for (const format of formats)
      test(`${name}: the input gradient in ${format.name}`, async () => {
        const { dy, w } = rounded(operands(each), format);
        const actual = await inputGradient(each, dy, w, format);
        expectClose(actual, plainInputGradient(each, dy, w), closeAs(format));
      });
  }

  for (const [name, each] of Object.entries({ ...cases, ...rowCases }))
    for (const format of formats) {
      test(`${name}: the weight gradient of ${format.name}`, async () => {
        const { dy, x } = rounded(operands(each), format);
        const expected = plainWeightGradient(each, x, dy, allRows(each));
        expectClose(await weightGradient(each, x, dy, undefined, format), expected, closeAs(format));
      });

      for (const zero of [77, 255, 0])
        test(`${name}: the weight gradient of 8-bit codes above ${zero} in ${format.name}`, async () => {
          const { dy, codes } = rounded(operands(each), format);
          const x = Float64Array.from(codes, (code) => (code - zero) * 0.125);
          const expected = plainWeightGradient(each, x, dy, allRows(each));
          expectClose(await weightGradient(each, codes, dy, [zero + 0.3, 0.125], format), expected, closeAs(format));
        });
    }

  for (const format of formats)
    test(`sums of small integers are exact in ${format.name}, and the same again`, async () => {
      const each = { ...shape, images: 7, threads: 3 };
      // What is transformed stays below 256, so that bfloat16 holds it.
      const codes = operands(each).codes.map((code) => 96 + (code & 63));
      const dy = Float32Array.from({ length: 7 * 64 * 16 }, (_, i) => (i % 5) - 2);
      const w = Float32Array.from({ length: 16 * 16 * 9 }, (_, i) => (i % 7) - 3);
      const x = Float64Array.from(codes, (code) => code - 128);
      const expected = plainWeightGradient(each, x, dy, allRows(each));
      const plain = (values: ArrayLike<number>) => Array.from(values, (value) => value + 0);
      expect(plain(await weightGradient(each, codes, dy, [128, 1], format))).toEqual(plain(expected));
      const exact = Float32Array.from(plainInputGradient(each, dy, w));
      expect(plain(await inputGradient(each, dy, w, format))).toEqual(plain(format.numbers(format.stored(exact))));
    });

  test("sums of small integers are exact forward", async () => {
    const each = { ...shape, images: 7, threads: 3 };
    const x = Float32Array.from(operands(each).codes, (code) => code - 128);
    const w = Float32Array.from({ length: 16 * 16 * 9 }, (_, i) => (i % 7) - 3);
    const plain = (values: ArrayLike<number>) => Array.from(values, (value) => value + 0);
    expect(plain(await convolution(each, x, w, undefined))).toEqual(plain(plainConvolution(each, x, w, undefined)));
  });

  test("refuses other windows and channels", async () => {
    const run = (changed: Partial<ConvolutionCase>) => {
      const each = { ...shape, ...changed };
      const { dy, w, x } = operands(each);
      return [inputGradient(each, dy, w, float32), convolution(each, x, w, undefined)];
    };
    for (const changed of [{ strides: [2, 2] }, { kernel: [1, 3] }, { dilations: [2, 1] }, { inputs: 17 }] as const)
      for (const refused of run(changed))
        await expect(refused).rejects.toThrow("is of a shape that frostbit winograd:avx512 does not serve");
  });
});
