// Convolutions of random shapes and their gradients over small whole numbers, which every kernel gives exactly.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { buildGiven } from "../../../test/support/given-inputs.ts";
import { bfloat16ToNumber, numberToBfloat16 } from "../../../test/support/half-bits.ts";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { plainNumbers, randomRuns } from "../../../test/support/random-runs.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import type { Graph } from "../../ir/graph.ts";
import { scalar, type Tensor, tensorOf } from "../../ir/tensor.ts";
import type { Precision } from "../engine.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { createNativeEngine } from "./native-engine.ts";

interface Shape {
  readonly batch: number;
  readonly group: number;
  /** Of a group. */
  readonly inputs: number;
  readonly outputs: number;
  readonly axes: readonly {
    readonly size: number;
    readonly kernel: number;
    readonly stride: number;
    readonly dilation: number;
    readonly begin: number;
    readonly end: number;
  }[];
  readonly isQuantized: boolean;
  readonly zero: number;
  readonly rows: readonly number[];
}

const channels = fc.constantFrom(1, 2, 3, 7, 16, 17, 31, 32);
const axis = fc
  .record({
    size: fc.integer({ min: 1, max: 12 }),
    kernel: fc.constantFrom(1, 2, 3, 3, 3, 5),
    stride: fc.constantFrom(1, 1, 1, 2, 3),
    dilation: fc.constantFrom(1, 1, 1, 2),
    begin: fc.nat(2),
    end: fc.nat(2),
  })
  .filter(({ size, kernel, dilation, begin, end }) => size + begin + end > (kernel - 1) * dilation);

const shapes = fc.record<Shape>({
  batch: fc.constantFrom(1, 2, 5, 16),
  group: fc.constantFrom(1, 1, 1, 1, 2, 5),
  inputs: channels,
  outputs: channels,
  axes: fc.oneof(
    { weight: 6, arbitrary: fc.array(axis, { minLength: 2, maxLength: 2 }) },
    fc.array(axis, { minLength: 1, maxLength: 3 }),
  ),
  isQuantized: fc.boolean(),
  zero: fc.constantFrom(0, 5, 15),
  rows: fc.array(fc.nat(1000), { maxLength: 40 }),
});

const one = { size: 1, kernel: 3, stride: 2, dilation: 1, begin: 1, end: 1 };
const depthwise = { batch: 2, group: 5, inputs: 1, outputs: 1, isQuantized: true, zero: 5, rows: [3] };

/** Images that are narrower than the stride, as networks for large images end with when they are given small ones. */
const narrow: readonly Shape[] = [
  { ...depthwise, axes: [one, one] },
  { ...depthwise, axes: [{ ...one, size: 4 }, one] },
  { ...depthwise, axes: [one, { ...one, size: 4 }] },
  {
    ...depthwise,
    inputs: 3,
    outputs: 2,
    axes: [
      { ...one, size: 2, stride: 3 },
      { ...one, size: 2, stride: 3 },
    ],
  },
];

const side = { size: 11, kernel: 3, stride: 1, dilation: 1, begin: 2, end: 0 };
const many = { batch: 16, group: 1, inputs: 16, outputs: 32, zero: 5, rows: [17, 3, 31] };
const axes = [side, { ...side, size: 9, begin: 0, end: 1 }];

/** With enough tiles for Winograd's algorithm. */
const wide: readonly Shape[] = [
  { ...many, axes, isQuantized: false },
  { ...many, axes, isQuantized: true },
];

const perAxis = (axes: Shape["axes"]) => ({
  kernel_shape: axes.map(({ kernel }) => kernel),
  strides: axes.map(({ stride }) => stride),
  dilations: axes.map(({ dilation }) => dilation),
  pads: [...axes.map(({ begin }) => begin), ...axes.map(({ end }) => end)],
});

interface Built {
  readonly graph: Graph;
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly dx: string;
}

/** `most`: the largest magnitude of dy. */
function built({ batch, group, inputs, outputs, axes, isQuantized, zero, rows }: Shape, most: number): Built {
  const { build, given, feed, integers } = buildGiven(batch + inputs);
  const codes = (value: string, zeroPoint: string, low: number, high: number): string => {
    const [one, lowest, highest] = [1, low, high].map((each) => build.constant(scalar("float32", each)));
    return isQuantized ? build.node("FakeQuantize", [value, one, zeroPoint, lowest, highest]) : value;
  };
  const attributes = { ...perAxis(axes), group };
  const x = codes(
    integers("x", [batch, group * inputs, ...axes.map(({ size }) => size)], -6, 7),
    build.constant(scalar("float32", zero)),
    ...([0, 15] as const),
  );
  const w = codes(integers("w", [group * outputs, inputs, ...attributes.kernel_shape], -3, 4), "", -4, 3);
  const y = build.node("Conv", [x, w, integers("bias", [group * outputs], -3, 4)], attributes);
  const dy = integers("dy", build.type(y).shape.map(Number), -most, most + 1);
  const dx = build.node("ConvGradientInput", [dy, w], { ...attributes, spatial: axes.map(({ size }) => size) });
  const chosen = [...new Set(rows.map((row) => row % (group * outputs)))];
  const indices = feed("rows", tensorOf("int64", [chosen.length], chosen), ["rows"]);
  const dw = build.node("ConvGradientWeight", [dy, x], attributes);
  const few = build.node("ConvGradientWeight", [dy, x, indices], attributes);
  return { graph: build.graph([y, dx, dw, few]), inputs: given, dx };
}

/** To the nearest bfloat16, ties to even. */
const rounded = (value: number): number => bfloat16ToNumber(numberToBfloat16(value));

const runs = randomRuns(60);

describe.skipIf(!isNativeBuilt)(`convolutions of random shapes${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  const engine = createNativeEngine();

  test.each(isNativeBuilt ? engine.precisions : [])(
    "give exactly what the reference gives in %s",
    async (precision: Precision) => {
      const reference = createReferenceEngine();
      const property = fc.asyncProperty(shapes, fc.constantFrom(1, 3), async (shape, threads) => {
        // In mixed, of what 8 bits hold exactly in steps of a 127th of the largest.
        const { graph, inputs, dx } = built(shape, precision === "mixed" ? 1 : 2);
        const expected = await runGraph(reference, graph, inputs);
        const executable = await engine.compile(graph, { threads, precision });
        const actual = await executable.bind(await engine.variables(new Map())).run(inputs);
        await executable.dispose();
        for (const name of graph.outputs) {
          const wanted = plainNumbers(expected.get(name));
          const given = plainNumbers(actual.get(name));
          // Only input gradients are stored in bfloat16.
          if (precision === "mixed" && name === dx) expect(given.map(rounded), name).toEqual(wanted.map(rounded));
          else expect(given, name).toEqual(wanted);
        }
      });
      await fc.assert(property, {
        ...runs,
        examples: [...narrow, ...wide].flatMap((each) => [
          [each, 1],
          [each, 3],
        ]),
      });
    },
    5000 * runs.numRuns,
  );
});
