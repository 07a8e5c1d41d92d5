// Which steps become one, and that random graphs give fused what they give one operator at a time.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import type { Graph } from "../../ir/graph.ts";
import { type Tensor, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { fuse } from "./fuse.ts";
import { fusedStep } from "./lowering.ts";
import { createNativeEngine } from "./native-engine.ts";
import type { FusedOperation, Slot, Step } from "./plan.ts";

const slot = (count = 1024): Slot => ({ bytes: 4 * count, location: { kind: "arena" } });

interface Options extends Partial<Pick<FusedOperation, "broadcast" | "epilogue" | "ints">> {
  readonly kernel?: string;
  readonly count?: number;
  readonly width?: number;
  readonly isLoad?: boolean;
  readonly isLate?: boolean;
}

function elementwiseStep(elementwise: readonly Slot[], results: readonly Slot[], options: Options = {}): Step {
  const {
    kernel = "unary",
    count = 1024,
    width = 0,
    broadcast = [],
    epilogue = [],
    ints = [],
    isLoad = false,
    isLate = false,
  } = options;
  const operation: FusedOperation = { kernel, elementwise, broadcast, results, epilogue, ints, floats: [] };
  return fusedStep({ count, width, operations: [operation], isLoad, isLate });
}

const opaque = (inputs: readonly Slot[], outputs: readonly Slot[]): Step => ({
  kernel: "convolution",
  inputs,
  outputs,
  ints: [],
  floats: [],
  inPlace: [],
});

const kernels = (steps: readonly Step[]): readonly (readonly string[])[] =>
  steps.map(({ kernel, fused }) => fused?.operations.map(({ kernel: name }) => name) ?? [kernel]);

describe("fuse", () => {
  test("a chain becomes one step; what passes within it is a buffer that is used again", () => {
    const [x, a, b, y] = [slot(), slot(), slot(), slot()];
    const steps = fuse(
      [elementwiseStep([x], [a]), elementwiseStep([a], [b]), elementwiseStep([b], [y])],
      new Set([y]),
      false,
    );
    expect(kernels(steps)).toEqual([["unary", "unary", "unary"]]);
    expect([a.location, b.location]).toEqual([
      { kind: "local", index: 0 },
      { kind: "local", index: 0 },
    ]);
    expect([steps[0].inputs, steps[0].outputs]).toEqual([[x], [y]]);
  });

  test("sums that are ready at the end only are not read in the same step", () => {
    const [x, mean, y] = [slot(), slot(1), slot()];
    const statistics = elementwiseStep([x], [], { kernel: "statistics", epilogue: [mean] });
    const normalization = elementwiseStep([x], [y], { kernel: "normalization", broadcast: [mean] });
    expect(kernels(fuse([statistics, normalization], new Set([y]), false))).toEqual([
      ["statistics"],
      ["normalization"],
    ]);
  });

  test("an operation does not join a step before what else it reads is made", () => {
    const [x, a, b, y] = [slot(), slot(), slot(), slot()];
    const steps = fuse(
      [elementwiseStep([x], [a]), opaque([x], [b]), elementwiseStep([a, b], [y])],
      new Set([y]),
      false,
    );
    expect(kernels(steps)).toEqual([["unary"], ["convolution"], ["unary"]]);
    expect(a.location.kind).toBe("arena");
  });

  test("an operation joins a step just before that reads what it reads, if nothing later makes the rest", () => {
    const [x, a, b, c, y, z] = [slot(), slot(), slot(), slot(), slot(), slot()];
    const beside = [
      elementwiseStep([x], [a]),
      opaque([a], [c]),
      elementwiseStep([x], [b]),
      elementwiseStep([b, c], [y]),
    ];
    expect(kernels(fuse(beside, new Set([y]), false))).toEqual([["unary", "unary"], ["convolution"], ["unary"]]);
    const late = [elementwiseStep([x], [a]), opaque([a], [c]), elementwiseStep([x], [z], { broadcast: [c] })];
    expect(kernels(fuse(late, new Set([a, z]), false))).toEqual([["unary"], ["convolution"], ["unary"]]);
  });

  test("a number for each row is a buffer that the rows it meets do not write over, and is not narrowed", () => {
    const [x, y] = [slot(), slot()];
    const numbers = slot(64);
    const rows = [
      elementwiseStep([x], [numbers], { kernel: "reduceRow", width: 16 }),
      elementwiseStep([x, numbers], [y], { kernel: "binaryColumn", width: 16 }),
      elementwiseStep([y], [slot()]),
    ];
    fuse(rows, new Set(), false);
    expect([numbers.location, y.location]).toEqual([
      { kind: "local", index: 0 },
      { kind: "local", index: 1 },
    ]);
    const wide = slot(1 << 20);
    const [many, z] = [slot(1 << 16), slot(1 << 16)];
    const apart = [
      elementwiseStep([wide], [many], { kernel: "reduceRow", width: 16, count: 1 << 20 }),
      elementwiseStep([many], [z], { count: 1 << 16 }),
    ];
    expect(kernels(fuse(apart, new Set([z]), true))).toEqual([["reduceRow"], ["unary"]]);
  });

  test("steps over other numbers of elements, and of rows of other widths, stay apart", () => {
    const [x, a, y, z] = [slot(), slot(), slot(), slot()];
    const rows = elementwiseStep([x], [a], { width: 16 });
    const others = elementwiseStep([a], [y], { width: 8 });
    expect(kernels(fuse([rows, others], new Set([y]), false))).toHaveLength(2);
    const fewer = elementwiseStep([a], [z], { count: 512 });
    expect(kernels(fuse([elementwiseStep([x], [a]), fewer], new Set([z]), false))).toHaveLength(2);
    const single = elementwiseStep([x], [a], { width: 1 });
    expect(kernels(fuse([single, elementwiseStep([a], [z], { width: 16 })], new Set([z]), false))).toHaveLength(2);
    expect(kernels(fuse([single, elementwiseStep([a], [z])], new Set([z]), false))).toHaveLength(1);
  });

  test("what is stored is loaded once in each step that reads it, and alone for what is not fused", () => {
    const [codes, wide, a, y, z, w] = [slot(), slot(), slot(), slot(), slot(), slot()];
    const load = elementwiseStep([codes], [wide], { kernel: "dequantize", isLoad: true });
    const steps = [
      load,
      elementwiseStep([wide], [a]),
      elementwiseStep([wide, a], [y]),
      opaque([y], [z]),
      elementwiseStep([wide, z], [w]),
    ];
    expect(kernels(fuse(steps, new Set([w]), false))).toEqual([
      ["dequantize", "unary", "unary"],
      ["convolution"],
      ["dequantize", "unary"],
    ]);
    const [c, d, e] = [slot(), slot(), slot()];
    const second = [elementwiseStep([c], [d], { kernel: "dequantize", isLoad: true }), opaque([d], [e])];
    expect(kernels(fuse(second, new Set([e]), false))).toEqual([["dequantize"], ["convolution"]]);
    expect(d.location.kind).toBe("arena");
  });

  test("what is stored is loaded before a step that reads it as a whole", () => {
    const [codes, wide, x, y] = [slot(16), slot(16), slot(), slot()];
    const load = elementwiseStep([codes], [wide], { kernel: "dequantize", isLoad: true, count: 16 });
    const steps = fuse([load, elementwiseStep([x], [y], { broadcast: [wide], width: 16 })], new Set([y]), false);
    expect(kernels(steps)).toEqual([["dequantize"], ["unary"]]);
    expect(wide.location.kind).toBe("arena");
  });

  test("what gradients alone want of a cheap step is computed again where they read what it is made of", () => {
    const make = ({ isKept = false, isLate = true, readsSource = true, kernel = "normalization" } = {}) => {
      const [x, mean, normal, y, z, dy, dx, sums] = [slot(), slot(4), slot(), slot(), slot(), slot(), slot(), slot(4)];
      const steps = [
        elementwiseStep([x], [normal], { kernel, broadcast: [mean], width: 4 }),
        elementwiseStep([normal], [y], { kernel: "clip" }),
        elementwiseStep([y], [slot()], { kernel: "quantize" }),
        opaque([y], [z]),
        elementwiseStep([z, normal], [dy], { kernel: "clipGradient", isLate }),
        elementwiseStep([dy, readsSource ? x : z], [dx], { kernel: "sums", epilogue: [sums], width: 4, isLate }),
      ];
      const made = fuse(steps, new Set(isKept ? [normal, sums, dx] : [sums, dx]), false);
      return { kernels: kernels(made).at(-1), location: normal.location.kind };
    };
    expect(make()).toEqual({ kernels: ["normalization", "clipGradient", "sums"], location: "local" });
    const stored = { kernels: ["clipGradient", "sums"], location: "arena" };
    expect(make({ isKept: true })).toEqual(stored);
    expect(make({ isLate: false })).toEqual(stored);
    expect(make({ readsSource: false })).toEqual(stored);
    expect(make({ kernel: "softmax" })).toEqual(stored);
  });

  const product = (a: Slot, b: Slot, y: Slot, bias?: Slot): Step => ({
    ...opaque([a, b], [y]),
    kernel: "product:bfloat16",
    inputs: [a, b, bias],
  });
  const large = 1 << 16;

  test("a product that groups alone read is rounded when it is made, but not what is quantized next or read otherwise", () => {
    const make = ({ isKept = false, quantizes = false, isLate = false, reads = "elements", bias = false } = {}) => {
      const [a, b, y, z, w, c] = [slot(), slot(), slot(large), slot(large), slot(large), slot()];
      const reader = elementwiseStep([y], [z], { count: large, isLate });
      const steps = [
        product(a, b, y, bias ? c : undefined),
        ...(reads === "elements" ? [reader] : [reader, opaque([y], [w])]),
        ...(quantizes ? [elementwiseStep([z], [w], { kernel: "quantize", count: large, isLate })] : []),
      ];
      const [first] = fuse(steps, new Set(isKept ? [y, z, w] : [z, w]), true);
      return { kernel: first.kernel, bytes: first.outputs[0]?.bytes };
    };
    const rounded = { kernel: "product:bfloat16:rounded", bytes: 2 * large };
    const whole = { kernel: "product:bfloat16", bytes: 4 * large };
    expect(make()).toEqual(rounded);
    expect(make({ isLate: true, quantizes: true })).toEqual(rounded);
    expect(make({ quantizes: true })).toEqual(whole);
    expect(make({ isKept: true })).toEqual(whole);
    expect(make({ reads: "all" })).toEqual(whole);
    expect(make({ bias: true })).toEqual(whole);
  });

  test("what a product reads in 16 bits is what other groups read", () => {
    const [x, y, narrow, z, w] = [slot(large), slot(large), slot(large / 2), slot(large), slot(large)];
    const options = { count: large, isLate: true };
    const steps = [
      elementwiseStep([x], [y], options),
      elementwiseStep([y], [narrow], { ...options, kernel: "narrow:bfloat16" }),
      product(narrow, narrow, z),
      elementwiseStep([y, z], [w], options),
    ];
    const made = fuse(steps, new Set([z, w]), true);
    expect(made[0].outputs).toEqual([narrow]);
    expect(made.at(-1)?.inputs).toContain(narrow);
  });

  test.each(["unary", "narrow:bfloat16"])(
    "what several cheap steps make one of the other is computed again by all of them: %s",
    (kernel) => {
      const [x, normal, y, codes, z, dy, dx] = [slot(), slot(), slot(), slot(), slot(), slot(), slot()];
      const steps = [
        elementwiseStep([x], [normal], { kernel: "normalization", width: 4 }),
        elementwiseStep([normal], [y], { kernel }),
        elementwiseStep([y], [codes], { kernel: "quantize" }),
        opaque([codes], [z]),
        elementwiseStep([z, y], [dy], { kernel: "fakeQuantizeGradient", isLate: true }),
        elementwiseStep([dy, x], [dx], { kernel: "sums", width: 4, isLate: true }),
      ];
      const isCheap = kernel === "unary";
      expect(kernels(fuse(steps, new Set([dx]), false)).at(-1)).toEqual([
        ...(isCheap ? ["normalization", "unary"] : []),
        "fakeQuantizeGradient",
        "sums",
      ]);
      expect([normal, y].map(({ location }) => location.kind)).toEqual(["local", isCheap ? "local" : "arena"]);
    },
  );

  test("copies of what passes between steps in 16 bits have 16 too, where steps by element read them", () => {
    const count = 1 << 15;
    const make = ({ reader = "unary", value, isKept = false }: { reader?: string; value?: Slot; isKept?: boolean }) => {
      const [x, y, part, padded, z] = [slot(count), slot(count), slot(count / 2), slot(count), slot(count)];
      const move = (kernel: string, inputs: readonly (Slot | undefined)[], to: Slot): Step => ({
        ...opaque([], [to]),
        kernel,
        inputs,
      });
      const steps = [
        elementwiseStep([x], [y], { count }),
        move("copy4", [y], part),
        move("fill4", [value], padded),
        move("copy4", [part], padded),
        reader === "unary" ? elementwiseStep([padded], [z], { count }) : opaque([padded], [z]),
      ];
      return kernels(fuse(steps, new Set(isKept ? [part, z] : [z]), true));
    };
    expect(make({})).toEqual([
      ["unary", "narrow:float16"],
      ["copy2"],
      ["fill2"],
      ["copy2"],
      ["widen:float16", "unary"],
    ]);
    const wide = [["unary"], ["copy4"], ["fill4"], ["copy4"], ["unary"]];
    expect(make({ value: slot(1) })).toEqual(wide);
    expect(make({ isKept: true })).toEqual(wide);
    expect(make({ reader: "convolution" })).toEqual([...wide.slice(0, -1), ["convolution"]]);
  });

  test("what is computed again is made before what is made of it", () => {
    const [x, normal, y, codes, z, dy, dn, dx] = [slot(), slot(), slot(), slot(), slot(), slot(), slot(), slot()];
    const steps = [
      elementwiseStep([x], [normal], { kernel: "normalization" }),
      elementwiseStep([normal], [y], { kernel: "clip" }),
      elementwiseStep([y], [codes], { kernel: "quantize" }),
      opaque([codes], [z]),
      elementwiseStep([z, y], [dy], { kernel: "fakeQuantizeGradient", isLate: true }),
      elementwiseStep([dy, normal], [dn], { kernel: "clipGradient", isLate: true }),
      elementwiseStep([dn, x], [dx], { kernel: "sums", isLate: true }),
    ];
    expect(kernels(fuse(steps, new Set([dx]), true)).at(-1)).toEqual([
      "normalization",
      "clip",
      "fakeQuantizeGradient",
      "clipGradient",
      "sums",
    ]);
  });

  test("a condition is a buffer of its own: its elements are smaller than what it is made of, and what is made of it", () => {
    const [x, a, condition, y] = [slot(), slot(), { ...slot(), bytes: 1024 }, slot()];
    const steps = [
      elementwiseStep([x], [a]),
      elementwiseStep([a], [condition], { kernel: "compare" }),
      elementwiseStep([condition, x], [y], { kernel: "where" }),
      elementwiseStep([y], [slot()]),
    ];
    fuse(steps, new Set(), false);
    const places = [a, condition, y].map(({ location }) => (location.kind === "local" ? location.index : "memory"));
    expect(places).toEqual([0, 1, 0]);
  });

  test("what passes between steps is narrowed, in bfloat16 for gradients; what is kept or read as a whole is not", () => {
    const count = 1 << 16;
    const make = (isLate: boolean, kept: boolean, isWhole: boolean): string[] => {
      const [x, a, b, c, y] = [slot(count), slot(count), slot(count), slot(count), slot(count)];
      const options = { count, isLate };
      const first = elementwiseStep([x], [a], options);
      const reader = isWhole
        ? elementwiseStep([c], [y], { ...options, broadcast: [a] })
        : elementwiseStep([a, c], [y], options);
      const other = [elementwiseStep([a], [b], options), opaque([b], [c])];
      return fuse([first, ...other, reader], new Set(kept ? [a, y] : [y]), true).flatMap(({ fused }) =>
        (fused?.operations ?? []).map(({ kernel }) => kernel).filter((kernel) => kernel !== "unary"),
      );
    };
    expect(make(false, false, false)).toEqual(["narrow:float16", "widen:float16"]);
    expect(make(true, false, false)).toEqual(["narrow:bfloat16", "widen:bfloat16"]);
    expect(make(false, true, false)).toEqual([]);
    expect(make(false, false, true)).toEqual([]);
  });
});

/** Rows, numbers of each, and columns of a matrix, by how often each axis is there. */
type Kind = "whole" | "rows" | "columns";
const [rowCount, width] = [80, 24];
const shapes: Readonly<Record<Kind, readonly number[]>> = {
  whole: [4, rowCount / 4, width],
  rows: [4, rowCount / 4, 1],
  columns: [width],
};

/** By node: what it makes of which earlier values. */
const rowGraphs = fc.array(
  fc.record({
    op: fc.constantFrom("Add", "Sub", "Max", "Softmax", "LogSoftmax", "along", "down"),
    reduction: fc.constantFrom("ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2"),
    a: fc.nat(),
    b: fc.nat(),
    isOutput: fc.boolean(),
  }),
  { minLength: 1, maxLength: 16 },
);

/** The same graph with some values, or all, as outputs; `wanted` are those that some callers get. */
function rowGraphOf(
  nodes: Parameters<Parameters<typeof rowGraphs.map>[0]>[0],
  isWhole: boolean,
): { graph: Graph; wanted: string[] } {
  const build = buildOn();
  const values = (["whole", "rows", "columns"] as const).map((kind) => ({
    kind: kind as Kind,
    name: build.input(kind, { dtype: "float32", shape: shapes[kind] }),
  }));
  const given = values.length;
  const wanted: string[] = [];
  for (const { op, reduction, a, b, isOutput } of nodes) {
    const whole = values.filter(({ kind }) => kind === "whole");
    const [left, right] = [whole[a % whole.length], values[b % values.length]];
    const reduced = (op: string, axes: readonly number[], keepdims: number): string =>
      build.node(op, [left.name, build.ints(axes)], { keepdims });
    if (op === "along") values.push({ kind: "rows", name: reduced(reduction, [-1], 1) });
    else if (op === "down")
      values.push({ kind: "columns", name: reduced(b % 2 ? "ReduceSum" : "ReduceMean", [0, 1], 0) });
    else if (op.endsWith("max") && op !== "Max") values.push({ kind: "whole", name: build.node(op, [left.name]) });
    else
      values.push({ kind: "whole", name: build.node(op, b % 3 ? [left.name, right.name] : [right.name, left.name]) });
    const made = values.at(-1);
    if (made && (isOutput || values.length === given + nodes.length)) wanted.push(made.name);
  }
  return { graph: build.graph(isWhole ? values.slice(given).map(({ name }) => name) : wanted), wanted };
}

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

  test("of rows and their sums give to the bit what they give with every value kept, and what the reference gives", async () => {
    const [engine, reference] = [createNativeEngine(), createReferenceEngine()];
    const random = createRandom(9);
    const inputs = new Map(Object.entries(shapes).map(([name, each]) => [name, random.tensor("float32", each)]));
    const property = fc.asyncProperty(rowGraphs, fc.constantFrom(1, 3), async (nodes, threads) => {
      const [fused, whole] = [rowGraphOf(nodes, false), rowGraphOf(nodes, true)];
      const actual = await runGraph(engine, fused.graph, inputs, threads);
      const [kept, expected] = [
        await runGraph(engine, whole.graph, inputs, threads),
        await runGraph(reference, fused.graph, inputs),
      ];
      fused.wanted.forEach((name, i) => {
        const values = actual.get(name) as Tensor;
        expect(toNumbers(values)).toEqual(toNumbers(kept.get(whole.wanted[i]) as Tensor));
        const widen = { factor: 8, because: "up to 16 operators follow each other" };
        expectClose(values, expected.get(name) as Tensor, { widen });
      });
    });
    await fc.assert(property, { numRuns: 60, seed: 5 });
  });
});
