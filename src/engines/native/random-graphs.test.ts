// Random graphs over small whole numbers, which every precision and order of sums gives exactly: what is fused, narrowed, seen in
// another layout or written in place must not be noticed.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import { plainNumbers, randomRuns } from "../../../test/support/random-runs.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import type { Graph } from "../../ir/graph.ts";
import { scalar, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import type { Precision } from "../engine.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { createNativeEngine } from "./native-engine.ts";

type Build = ReturnType<typeof buildOn>;

/** Images, numbers of each of their rows, and of each of their channels; large enough to be narrowed. */
type Kind = "image" | "rows" | "channels";

interface Value {
  readonly name: string;
  readonly kind: Kind;
  /** Of its magnitude: what is larger than 64 is clipped, so that 16 bits hold everything. */
  readonly maxMagnitude: number;
}

interface Sizes {
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

interface Choice {
  readonly op: string;
  readonly a: number;
  readonly b: number;
  readonly isOutput: boolean;
}

const shapeOf = ({ batch, channels, height, width }: Sizes, kind: Kind): readonly number[] =>
  ({ image: [batch, channels, height, width], rows: [batch, channels, height, 1], channels: [1, channels, 1, 1] })[
    kind
  ];

/** What a node is made from: two values of the wanted kinds, and numbers to choose forms by. */
interface Making {
  readonly build: Build;
  readonly sizes: Sizes;
  readonly a: Value;
  readonly b: Value;
  readonly choice: Choice;
}

const constant = (build: Build, value: number): string => build.constant(scalar("float32", value));

const quantize = ({ build, choice }: Making, { name }: Value): string => {
  const [zero, low, high] = [
    [100, 0, 255],
    [0, -128, 127],
    [3, 0, 15],
    [-2, -8, 7],
  ][choice.b % 4];
  return build.node("FakeQuantize", [
    name,
    constant(build, 1),
    ...[zero, low, high].map((each) => constant(build, each)),
  ]);
};

const weights = ({ build, choice }: Making, shape: readonly number[]): string => {
  const w = build.constant(createRandom(choice.b).integerTensor("float32", shape, -3, 4));
  if (choice.a % 3 === 0) return w;
  return build.node("FakeQuantize", [w, constant(build, 1), "", constant(build, -8), constant(build, 7)]);
};

type Make = (making: Making) => readonly [name: string, maxMagnitude: number, kind?: Kind];

const unary =
  (op: string): Make =>
  ({ build, a }) => [build.node(op, [a.name]), a.maxMagnitude];

const binary =
  (op: string): Make =>
  ({ build, a, b, choice }) => [
    build.node(op, choice.b % 2 ? [a.name, b.name] : [b.name, a.name]),
    op === "Max" || op === "Min" ? Math.max(a.maxMagnitude, b.maxMagnitude) : a.maxMagnitude + b.maxMagnitude,
  ];

const makers: Readonly<Record<string, Make>> = {
  ...Object.fromEntries(["Neg", "Abs", "Relu"].map((op) => [op, unary(op)])),
  ...Object.fromEntries(["Add", "Sub", "Max", "Min"].map((op) => [op, binary(op)])),
  alongRows: ({ build, a, choice, sizes }) => {
    const op = choice.b % 2 ? "ReduceSum" : "ReduceMax";
    return [build.node(op, [a.name, build.ints([-1])], { keepdims: 1 }), a.maxMagnitude * sizes.width, "rows"];
  },
  ofChannels: ({ build, a }) => [
    build.node("ReduceMax", [a.name, build.ints([0, 2, 3])], { keepdims: 1 }),
    a.maxMagnitude,
    "channels",
  ],
  quantize: (making) => [quantize(making, making.a), 64],
  convolve: (making) => {
    const { build, a, choice, sizes } = making;
    const x = choice.a % 2 ? quantize(making, a) : a.name;
    const bias = build.constant(createRandom(5).integerTensor("float32", [sizes.channels], -3, 4));
    const w = weights(making, [sizes.channels, sizes.channels, 3, 3]);
    return [build.node("Conv", choice.b % 2 ? [x, w, bias] : [x, w], { pads: [1, 1, 1, 1] }), 2 ** 20];
  },
  multiply: (making) => {
    const { build, a, choice, sizes } = making;
    const x = choice.a % 2 ? quantize(making, a) : a.name;
    return [build.node("MatMul", [x, weights(making, [sizes.width, sizes.width])]), 2 ** 20];
  },
  multiplyTransposed: ({ build, a, b, sizes }) => {
    const t = build.node("Transpose", [b.name], { perm: [0, 1, 3, 2] });
    const square = build.node("MatMul", [a.name, t]);
    const small = build.node("Clip", [square, constant(build, -4), constant(build, 4)]);
    return [build.node("MatMul", [small, b.name]), 4 * b.maxMagnitude * sizes.height];
  },
  normalize: ({ build, a, sizes }) => {
    const numbers = (seed: number): string =>
      build.constant(createRandom(seed).integerTensor("float32", [sizes.channels], -3, 4));
    const one = build.constant(tensorOf("float32", [sizes.channels], new Array<number>(sizes.channels).fill(1)));
    return [
      build.node("BatchNormalization", [a.name, one, numbers(1), numbers(2), one], { epsilon: 0 }),
      a.maxMagnitude + 6,
    ];
  },
  pool: ({ build, a }) => [
    build.node("MaxPool", [a.name], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }),
    a.maxMagnitude,
  ],
  rearrange: ({ build, a }) => {
    const turned = build.node("Transpose", [a.name], { perm: [0, 2, 3, 1] });
    const more = build.node("Add", [turned, constant(build, 1)]);
    return [build.node("Transpose", [more], { perm: [0, 3, 1, 2] }), a.maxMagnitude + 1];
  },
  reshape: ({ build, a, sizes }) => {
    const flat = build.node("Reshape", [a.name, build.ints([sizes.batch, -1])]);
    const more = build.node("Neg", [flat]);
    return [build.node("Reshape", [more, build.ints(shapeOf(sizes, "image"))]), a.maxMagnitude];
  },
  swap: ({ build, a, b, sizes }) => {
    const both = build.node("Concat", [a.name, b.name], { axis: 1 });
    const ends = [build.ints([1]), build.ints([1 + sizes.channels]), build.ints([1])];
    return [build.node("Slice", [both, ...ends]), Math.max(a.maxMagnitude, b.maxMagnitude)];
  },
  scatter: ({ build, a, b, choice, sizes }) => {
    const shape = shapeOf(sizes, "image");
    const count = shape.reduce((product, size) => product * size, 1);
    const places = tensorOf(
      "int64",
      shape,
      Array.from({ length: count }, (_, i) => (i + choice.b) % sizes.width),
    );
    return [
      build.node("ScatterElements", [a.name, build.constant(places), b.name], { axis: 3, reduction: "max" }),
      Math.max(a.maxMagnitude, b.maxMagnitude),
    ];
  },
  choose: ({ build, a, b }) => [
    build.node("Where", [build.node("Greater", [a.name, b.name]), a.name, b.name]),
    Math.max(a.maxMagnitude, b.maxMagnitude),
  ],
  chooseByNumbers: ({ build, a, b, choice }) => {
    const op = ["Equal", "GreaterOrEqual", "Less", "LessOrEqual"][choice.a % 4];
    const sides = choice.b % 2 ? [a.name, constant(build, 1)] : [constant(build, 1), a.name];
    const both = build.node(["And", "Or", "Xor"][choice.b % 3], [
      build.node(op, sides),
      build.node("Greater", [b.name, constant(build, 0)]),
    ]);
    const choices = [[a.name, constant(build, 3)], [constant(build, 3), b.name], [3, 5].map((n) => constant(build, n))];
    return [build.node("Where", [both, ...choices[choice.a % 3]]), 5 + Math.max(a.maxMagnitude, b.maxMagnitude)];
  },
  pad: ({ build, a, sizes }) => {
    const padded = build.node("Pad", [a.name, build.ints([0, 0, 1, 0, 0, 0, 0, 0]), constant(build, 2)]);
    const ends = [build.ints([0]), build.ints([sizes.height]), build.ints([2])];
    return [build.node("Slice", [padded, ...ends]), Math.max(2, a.maxMagnitude)];
  },
  spread: ({ build, b, sizes }) => [
    build.node("Expand", [b.name, build.ints(shapeOf(sizes, "image"))]),
    b.maxMagnitude,
  ],
  count: ({ build, a }) => {
    const whole = build.node("Cast", [a.name], { to: "int32" });
    return [build.node("Cast", [build.node("Add", [whole, whole])], { to: "float32" }), 2 * a.maxMagnitude];
  },
};

/** Those whose second value may be one that repeats. */
const broadcasts: ReadonlySet<string> = new Set(["Add", "Sub", "Max", "Min", "spread"]);

/** The graph with some values as outputs, or all; and those that are outputs in either. */
function graphOf(choices: readonly Choice[], sizes: Sizes, isWhole: boolean): { graph: Graph; wanted: string[] } {
  const build = buildOn();
  const values = (["image", "rows", "channels", "image"] as const).map((kind, i): Value => {
    const name = build.input(`x${i}`, { dtype: "float32", shape: shapeOf(sizes, kind) });
    return { name, kind, maxMagnitude: 4 };
  });
  const given = values.length;
  const wanted: string[] = [];
  choices.forEach((choice, i) => {
    const images = values.filter(({ kind }) => kind === "image");
    const a = images[choice.a % images.length];
    const others = broadcasts.has(choice.op) ? values : images;
    const [name, maxMagnitude, kind = "image"] = makers[choice.op]({
      build,
      sizes,
      a,
      b: others[choice.b % others.length],
      choice,
    });
    const isClipped = maxMagnitude > 64;
    const value = isClipped ? build.node("Clip", [name, constant(build, -64), constant(build, 64)]) : name;
    values.push({ name: value, kind, maxMagnitude: Math.min(maxMagnitude, 64) });
    if (choice.isOutput || i === choices.length - 1) wanted.push(value);
  });
  return { graph: build.graph([...new Set(isWhole ? values.slice(given).map(({ name }) => name) : wanted)]), wanted };
}

const choices = fc.array(
  fc.record({
    op: fc.constantFrom(...Object.keys(makers)),
    a: fc.nat(1000),
    b: fc.nat(1000),
    isOutput: fc.boolean(),
  }),
  { minLength: 1, maxLength: 12 },
);
const sizes = fc.constantFrom<Sizes>(
  { batch: 13, channels: 16, height: 5, width: 16 },
  { batch: 64, channels: 1, height: 16, width: 17 },
  { batch: 1, channels: 7, height: 3, width: 16 },
  { batch: 3, channels: 17, height: 16, width: 24 },
);

const runs = randomRuns(25);

describe.skipIf(!isNativeBuilt)(`random graphs${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test(
    "give exactly what the reference gives",
    async () => {
      const [engine, reference] = [createNativeEngine(), createReferenceEngine()];
      const precisions = fc.constantFrom<Precision>(...engine.precisions);
      const property = fc.asyncProperty(
        choices,
        sizes,
        precisions,
        fc.constantFrom(1, 3),
        fc.boolean(),
        async (made, size, precision, threads, isWhole) => {
          const { graph, wanted } = graphOf(made, size, isWhole);
          const random = createRandom(size.channels);
          const inputs = new Map(
            graph.inputs.map((name) => [
              name,
              random.integerTensor("float32", graph.values.get(name)?.shape as number[], -4, 5),
            ]),
          );
          const expected = await runGraph(reference, graph, inputs);
          const executable = await engine.compile(graph, { threads, precision });
          const program = executable.bind(await engine.variables(new Map()));
          const first = await program.run(inputs);
          const second = await program.run(inputs);
          await executable.dispose();
          for (const name of wanted)
            for (const actual of [first, second])
              expect(plainNumbers(actual.get(name)), name).toEqual(plainNumbers(expected.get(name)));
        },
      );
      await fc.assert(property, runs);
    },
    5000 * runs.numRuns,
  );
});
