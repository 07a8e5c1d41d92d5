// The bfloat16 weight gradient's step against a plain loop in float64.
import { describe, expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import {
  type ConvolutionCase,
  geometry,
  outputSize,
  plainWeightGradient,
  runGradientStep,
} from "../../../test/support/convolution-gradients.ts";
import { bfloat16ToNumber, numberToBfloat16 } from "../../../test/support/half-bits.ts";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import { loadAddon } from "./addon.ts";

const cases: Readonly<Record<string, ConvolutionCase>> = {
  "3×3 over 16 channels": { images: 3, inputs: 16, outputs: 16, in: [8, 8], kernel: [3, 3], pads: [1, 1, 1, 1] },
  "one channel": { images: 2, inputs: 1, outputs: 1, in: [5, 7], kernel: [3, 3], pads: [1, 1, 1, 1] },
  "one pixel": { images: 1, inputs: 5, outputs: 3, in: [1, 1], kernel: [1, 1] },
  "few channels and an even zero point": {
    images: 5,
    inputs: 3,
    outputs: 20,
    in: [32, 32],
    kernel: [3, 3],
    pads: [1, 1, 1, 1],
    zero: 128,
  },
  "prime sizes": { images: 5, inputs: 17, outputs: 19, in: [13, 11], kernel: [3, 3], pads: [1, 1, 1, 1], threads: 3 },
  "stride 2": { images: 3, inputs: 32, outputs: 33, in: [16, 16], kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
  "stride 2 with few channels": {
    images: 2,
    inputs: 3,
    outputs: 5,
    in: [15, 14],
    kernel: [7, 7],
    strides: [2, 2],
    pads: [3, 3, 3, 3],
  },
  "stride 2 and a kernel of one": { images: 2, inputs: 20, outputs: 40, in: [9, 9], kernel: [1, 1], strides: [2, 2] },
  "stride 3 beyond the kernel": { images: 2, inputs: 4, outputs: 6, in: [11, 12], kernel: [2, 2], strides: [3, 3] },
  "dilation 2": {
    images: 2,
    inputs: 16,
    outputs: 8,
    in: [12, 10],
    kernel: [3, 3],
    dilations: [2, 2],
    pads: [2, 2, 2, 2],
  },
  "dilation 3, stride 2": {
    images: 1,
    inputs: 2,
    outputs: 9,
    in: [20, 17],
    kernel: [3, 3],
    dilations: [3, 3],
    strides: [2, 2],
    pads: [1, 4, 2, 0],
  },
  "uneven pads": { images: 2, inputs: 18, outputs: 7, in: [6, 9], kernel: [2, 4], pads: [0, 3, 1, 1] },
  "pads wider than the image": { images: 1, inputs: 2, outputs: 2, in: [2, 3], kernel: [3, 3], pads: [4, 5, 6, 4] },
  "5×5 without pads": { images: 2, inputs: 6, outputs: 16, in: [14, 14], kernel: [5, 5] },
  "a row of pixels": { images: 2, inputs: 3, outputs: 4, in: [1, 1500], kernel: [1, 9], pads: [0, 4, 0, 4] },
  "images beyond the cache": { images: 2, inputs: 64, outputs: 2, in: [70, 66], kernel: [3, 1], pads: [1, 0, 1, 0] },
  "some rows": {
    images: 3,
    inputs: 16,
    outputs: 64,
    in: [8, 8],
    kernel: [3, 3],
    pads: [1, 1, 1, 1],
    rows: [63, 2, 3, 5, 7, 40],
  },
  "one row": { images: 4, inputs: 64, outputs: 64, in: [8, 8], kernel: [3, 3], pads: [1, 1, 1, 1], rows: [-3] },
  "a row twice": {
    images: 1,
    inputs: 16,
    outputs: 5,
    in: [7, 33],
    kernel: [3, 3],
    pads: [1, 1, 1, 1],
    rows: [4, 4, 0],
  },
  "no rows": { images: 3, inputs: 16, outputs: 16, in: [8, 8], kernel: [3, 3], pads: [1, 1, 1, 1], rows: [] },
};

/** Runs the step once over operands of its own. */
async function runStep(
  each: ConvolutionCase,
  x: Uint8Array | Uint16Array,
  dy: Uint16Array,
  scalars: readonly (number | undefined)[],
) {
  const count = each.rows?.length ?? each.outputs;
  const dw = new Float32Array(count * each.inputs * each.kernel[0] * each.kernel[1]);
  const floats = scalars.map((value) => (value === undefined ? undefined : Float32Array.of(value)));
  const rows = each.rows && BigInt64Array.from(each.rows.concat(0), BigInt);
  const ints = [...geometry(each), x instanceof Uint8Array ? 1 : 0, -1, count];
  const step = { kernel: "weightGradient:bfloat16", ints, threads: each.threads ?? 2 };
  await runGradientStep(step, [dy, x, ...floats, rows, dw], count);
  return dw;
}

function operands(each: ConvolutionCase) {
  const random = createRandom(7);
  const out = outputSize(each);
  const dy = Uint16Array.from({ length: each.images * out[0] * out[1] * each.outputs }, () =>
    numberToBfloat16(random.normal()),
  );
  const codes = Uint8Array.from({ length: each.images * each.in[0] * each.in[1] * each.inputs }, () =>
    random.integer(0, 256),
  );
  const values = Uint16Array.from(codes, () => numberToBfloat16(random.normal()));
  return { dy, codes, values };
}

const allRows = (each: ConvolutionCase) => each.rows ?? Array.from({ length: each.outputs }, (_, i) => i);
const widen = { factor: 8, because: "sums of thousands of products in float32" };
const isReady = isNativeBuilt && loadAddon().information().hasBfloat16;
const why = isReady ? "" : ` (${isNativeBuilt ? "the processor has no AVX-512-BF16" : notBuilt})`;

describe.skipIf(!isReady)(`the weight gradient in bfloat16${why}`, () => {
  for (const [name, each] of Object.entries(cases)) {
    test(`${name}: of 8-bit codes`, async () => {
      const { dy, codes } = operands(each);
      const zero = each.zero ?? 77;
      const actual = await runStep(each, codes, dy, [zero + 0.3, 0.125]);
      const x = Float64Array.from(codes, (code) => (code - zero) * 0.125);
      expectClose(actual, plainWeightGradient(each, x, Float64Array.from(dy, bfloat16ToNumber), allRows(each)), {
        as: "float32",
        widen,
      });
    });

    test(`${name}: of bfloat16`, async () => {
      const { dy, values } = operands(each);
      const actual = await runStep(each, values, dy, [undefined, undefined]);
      const x = Float64Array.from(values, bfloat16ToNumber);
      expectClose(actual, plainWeightGradient(each, x, Float64Array.from(dy, bfloat16ToNumber), allRows(each)), {
        as: "float32",
        widen,
      });
    });
  }

  test("sums of small integers are exact, and the same again", async () => {
    const each = { ...cases["3×3 over 16 channels"], images: 7, threads: 3 };
    const { codes } = operands(each);
    const dy = Uint16Array.from({ length: 7 * 64 * 16 }, (_, i) => numberToBfloat16((i % 5) - 2));
    const actual = await runStep(each, codes, dy, [128, undefined]);
    const expected = plainWeightGradient(
      each,
      Float64Array.from(codes, (code) => code - 128),
      Float64Array.from(dy, bfloat16ToNumber),
      allRows(each),
    );
    expect(Array.from(actual)).toEqual(Array.from(expected, (value) => value + 0));
  });

  test("refuses what its window does not give, groups, and wrong rows", async () => {
    const each = cases["3×3 over 16 channels"];
    const { dy, codes } = operands(each);
    const run = (changed: Partial<ConvolutionCase>) => runStep({ ...each, ...changed }, codes, dy, [0, 1]);
    await expect(run({ rows: [16] })).rejects.toThrow("index 16 is outside an axis of 16");
    await expect(run({ images: 4 })).rejects.toThrow("wants 4096 elements at place 0");
    const ints = [
      3,
      2,
      16,
      16,
      ...[8, 8, 8, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1].flatMap((size, i) => (i % 2 ? [size] : [2, size])),
    ];
    const make = (changed: readonly number[]) =>
      new (loadAddon().Program)(
        1,
        [],
        [
          {
            kernel: "weightGradient:bfloat16",
            places: new Float64Array(0),
            ints: Float64Array.from(changed),
            floats: new Float64Array(0),
          },
        ],
        0,
      );
    expect(() => make(ints)).toThrow("has 2 groups");
    expect(() => make(ints.with(1, 1).with(9, 9))).toThrow("has an output of 9 that its window does not give");
  });
});
