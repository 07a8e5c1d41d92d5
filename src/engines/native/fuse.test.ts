// Which steps become one, and that random graphs give fused what they give one operator at a time.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import type { Graph } from "../../ir/graph.ts";
import { type Tensor, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { fuse } from "./fuse.ts";
import { fusedStep } from "./lowering.ts";
import { createNativeEngine } from "./native-engine.ts";
import type { Part, Slot, Step } from "./plan.ts";

const slot = (count = 1024): Slot => ({ bytes: 4 * count, home: { kind: "arena" } });

interface Options extends Partial<Pick<Part, "whole" | "ends">> {
  readonly kernel?: string;
  readonly count?: number;
  readonly width?: number;
  readonly isLoad?: boolean;
  readonly isLate?: boolean;
}

function elementwise(streams: readonly Slot[], results: readonly Slot[], options: Options = {}): Step {
  const { kernel = "unary", count = 1024, width = 1, whole = [], ends = [], isLoad = false, isLate = false } = options;
  const part: Part = { kernel, streams, whole, results, ends, ints: [], floats: [] };
  return fusedStep({ count, width, parts: [part], isLoad, isLate });
}

const opaque = (inputs: readonly Slot[], outputs: readonly Slot[]): Step => ({
  ...{ kernel: "convolution", inputs, outputs, ints: [], floats: [], inPlace: [] },
});

const kernels = (steps: readonly Step[]): readonly (readonly string[])[] =>
  steps.map(({ kernel, fused }) => fused?.parts.map((part) => part.kernel) ?? [kernel]);

describe("fuse", () => {
  test("a chain becomes one step; what passes within it is a buffer that is used again", () => {
    const [x, a, b, y] = [slot(), slot(), slot(), slot()];
    const steps = fuse([elementwise([x], [a]), elementwise([a], [b]), elementwise([b], [y])], new Set([y]), false);
    expect(kernels(steps)).toEqual([["unary", "unary", "unary"]]);
    expect([a.home, b.home]).toEqual([
      { kind: "local", index: 0 },
      { kind: "local", index: 0 },
    ]);
    expect([steps[0].inputs, steps[0].outputs]).toEqual([[x], [y]]);
  });

  test("sums that are ready at the end only are not read in the same step", () => {
    const [x, mean, y] = [slot(), slot(1), slot()];
    const statistics = elementwise([x], [], { kernel: "statistics", ends: [mean] });
    const normalization = elementwise([x], [y], { kernel: "normalization", whole: [mean] });
    expect(kernels(fuse([statistics, normalization], new Set([y]), false))).toEqual([
      ["statistics"],
      ["normalization"],
    ]);
  });

  test("a part does not join a step before what else it reads is made", () => {
    const [x, a, b, y] = [slot(), slot(), slot(), slot()];
    const steps = fuse([elementwise([x], [a]), opaque([x], [b]), elementwise([a, b], [y])], new Set([y]), false);
    expect(kernels(steps)).toEqual([["unary"], ["convolution"], ["unary"]]);
    expect(a.home.kind).toBe("arena");
  });

  test("steps over other numbers of elements, and of rows of other widths, stay apart", () => {
    const [x, a, y, z] = [slot(), slot(), slot(), slot()];
    const rows = elementwise([x], [a], { width: 16 });
    const others = elementwise([a], [y], { width: 8 });
    expect(kernels(fuse([rows, others], new Set([y]), false))).toHaveLength(2);
    const fewer = elementwise([a], [z], { count: 512 });
    expect(kernels(fuse([elementwise([x], [a]), fewer], new Set([z]), false))).toHaveLength(2);
  });

  test("what is stored is loaded once in each step that reads it, and alone for what is no part", () => {
    const [codes, wide, a, y, z, w] = [slot(), slot(), slot(), slot(), slot(), slot()];
    const load = elementwise([codes], [wide], { kernel: "dequantize", isLoad: true });
    const steps = [
      load,
      elementwise([wide], [a]),
      elementwise([wide, a], [y]),
      opaque([y], [z]),
      elementwise([wide, z], [w]),
    ];
    expect(kernels(fuse(steps, new Set([w]), false))).toEqual([
      ["dequantize", "unary", "unary"],
      ["convolution"],
      ["dequantize", "unary"],
    ]);
    const [c, d, e] = [slot(), slot(), slot()];
    const second = [elementwise([c], [d], { kernel: "dequantize", isLoad: true }), opaque([d], [e])];
    expect(kernels(fuse(second, new Set([e]), false))).toEqual([["dequantize"], ["convolution"]]);
    expect(d.home.kind).toBe("arena");
  });

  test("what passes between steps is narrowed, in bfloat16 for gradients; what is kept or read as a whole is not", () => {
    const count = 1 << 16;
    const make = (isLate: boolean, kept: boolean, isWhole: boolean): string[] => {
      const [x, a, b, c, y] = [slot(count), slot(count), slot(count), slot(count), slot(count)];
      const options = { count, isLate };
      const first = elementwise([x], [a], options);
      const reader = isWhole ? elementwise([c], [y], { ...options, whole: [a] }) : elementwise([a, c], [y], options);
      const other = [elementwise([a], [b], options), opaque([b], [c])];
      return fuse([first, ...other, reader], new Set(kept ? [a, y] : [y]), true).flatMap(({ fused }) =>
        (fused?.parts ?? []).map(({ kernel }) => kernel).filter((kernel) => kernel !== "unary"),
      );
    };
    expect(make(false, false, false)).toEqual(["narrow:float16", "widen:float16"]);
    expect(make(true, false, false)).toEqual(["narrow:bfloat16", "widen:bfloat16"]);
    expect(make(false, true, false)).toEqual([]);
    expect(make(false, false, true)).toEqual([]);
  });
});

const unaries = ["Neg", "Abs", "Relu"] as const;
const binaries = ["Add", "Sub", "Max", "Min", "Mul"] as const;

/** By node: the operator, which earlier values it reads, and whether callers get it. */
const graphs = fc.array(
  fc.record({ op: fc.constantFrom(...unaries, ...binaries), a: fc.nat(), b: fc.nat(), isOutput: fc.boolean() }),
  { minLength: 1, maxLength: 24 },
);

const shape = [2, 3, 7, 5];

/** `isWhole`: every value is an output, so that each stays in memory as it is. */
function graphOf(
  nodes: Parameters<Parameters<typeof graphs.map>[0]>[0],
  isWhole: boolean,
): { graph: Graph; wanted: string[] } {
  const build = buildOn();
  const values = ["x", "z"].map((name) => build.input(name, { dtype: "float32", shape }));
  const wanted: string[] = [];
  for (const { op, a, b, isOutput } of nodes) {
    const [left, right] = [values[a % values.length], values[b % values.length]];
    const made = build.node(op, unaries.some((each) => each === op) ? [left] : [left, right]);
    values.push(made);
    if (isOutput || nodes.at(-1) === nodes[values.length - 3]) wanted.push(made);
  }
  return { graph: build.graph(isWhole ? values.slice(2) : wanted), wanted };
}

describe.skipIf(!isNativeBuilt)(`fused graphs${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test("give to the bit what they give with every value kept", async () => {
    const engine = createNativeEngine();
    const random = createRandom(3);
    const size = shape.reduce((product, length) => product * length, 1);
    const inputs = new Map(
      ["x", "z"].map((name) => [
        name,
        tensorOf(
          "float32",
          shape,
          Array.from({ length: size }, () => random.integer(-2, 3)),
        ),
      ]),
    );
    const property = fc.asyncProperty(graphs, async (nodes) => {
      const [fused, whole] = [graphOf(nodes, false), graphOf(nodes, true)];
      const [actual, expected] = [
        await runGraph(engine, fused.graph, inputs),
        await runGraph(engine, whole.graph, inputs),
      ];
      fused.wanted.forEach((name, i) => {
        expect(toNumbers(actual.get(name) as Tensor)).toEqual(toNumbers(expected.get(whole.wanted[i]) as Tensor));
      });
    });
    await fc.assert(property, { numRuns: 150, seed: 5 });
  });
});
