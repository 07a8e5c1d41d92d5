// Attention by blocks and its gradient against the reference engine, which goes node by node in float64.
import { beforeAll, describe, expect, test } from "vitest";
import { expectClose, sqnr } from "../../../../test/support/close.ts";
import { isNativeBuilt, notBuilt } from "../../../../test/support/native.ts";
import { createRandom } from "../../../../test/support/random.ts";
import { gradient } from "../../../autodiff/gradient.ts";
import type { DType } from "../../../ir/dtype.ts";
import type { Graph } from "../../../ir/graph.ts";
import { castTensor, numbersOf, sizeOf, type Tensor, tensorOf } from "../../../ir/tensor.ts";
import { buildOn } from "../../../ops/infer.ts";
import type { Engine, Precision } from "../../engine.ts";
import { createReferenceEngine } from "../../reference/reference-engine.ts";
import { loadAddon } from "../addon.ts";
import { describePlan } from "../describe-plan.ts";
import { lower } from "../lower.ts";
import { createNativeEngine } from "../native-engine.ts";
import { createNumerics } from "../numerics.ts";

type Masking = (query: number, key: number) => number;

interface Case {
  readonly batch: number;
  readonly heads: number;
  /** Heads of keys and values, each shared by as many heads as come to it. */
  readonly keyValueHeads: number;
  readonly queries: number;
  readonly keys: number;
  readonly size: number;
  readonly width: number;
  readonly mask?: Masking;
  /** The mask is an input, one for each sample. */
  readonly isMaskGiven?: boolean;
  readonly wanted?: readonly ("q" | "k" | "v")[];
  /** Heads lie beside each other: [batch, queries, heads, size] instead of [batch, heads, queries, size]. */
  readonly isBeside?: boolean;
}

const widen = { factor: 4, because: "scores of float32 are the exponents of what is summed" };
const hidden = -3.4028234663852886e38;
const causal: Masking = (query, key) => (key <= query ? 0 : hidden);
const window: Masking = (query, key) => (key <= query && key > query - 70 ? 0 : hidden);
const base: Case = { batch: 1, heads: 2, keyValueHeads: 2, queries: 300, keys: 300, size: 16, width: 16 };

const maskShape = ({ batch, queries, keys, isMaskGiven }: Case): readonly number[] =>
  isMaskGiven ? [batch, 1, queries, keys] : [queries, keys];

function maskOf(of: Case, dtype: DType): Tensor {
  const { queries, keys, mask = () => 0 } = of;
  const shape = maskShape(of);
  const at = (i: number): number => mask(Math.floor(i / keys) % queries, i % keys);
  return tensorOf(
    dtype,
    shape,
    Array.from({ length: sizeOf(shape) }, (_, i) => at(i)),
  );
}

/** q and k times v, and the sum of the result times w; outputs: the result and the wanted gradients of the sum. */
function graphOf(of: Case, dtype: DType): { graph: Graph; gradients: readonly string[] } {
  const { batch, heads, keyValueHeads, queries, keys, size, width, mask, isMaskGiven, wanted = ["q", "k", "v"] } = of;
  const build = buildOn();
  const rows = (heads / keyValueHeads) * queries;
  const turn = (x: string, ...perm: number[]): string => build.node("Transpose", [x], { perm });
  const input = (name: string, count: number, columns: number): string =>
    of.isBeside
      ? turn(build.input(name, { dtype, shape: [batch, count, keyValueHeads, columns] }), 0, 2, 1, 3)
      : build.input(name, { dtype, shape: [batch, keyValueHeads, count, columns] });
  const [q, k, v, w] = [
    input("q", rows, size),
    input("k", keys, size),
    input("v", keys, width),
    input("w", rows, width),
  ];
  const turned = turn(k, 0, 1, 3, 2);
  const scores = build.node("Mul", [build.node("MatMul", [q, turned]), build.scalar(size ** -0.5, q)]);
  const apart = build.node("Reshape", [scores, build.ints([batch, heads, queries, keys])]);
  const added = isMaskGiven
    ? build.input("mask", { dtype, shape: maskShape(of) })
    : build.constant(maskOf(of, dtype), "mask");
  const p = build.node("Softmax", [mask ? build.node("Add", [apart, added]) : apart], { axis: -1 });
  const together = build.node("Reshape", [p, build.ints([batch, keyValueHeads, rows, keys])]);
  const y = build.node("MatMul", [together, v], {}, "mixed");
  const factors = of.isBeside ? [turn(y, 0, 2, 1, 3), turn(w, 0, 2, 1, 3)] : [y, w];
  const sum = build.node("ReduceSum", [build.node("Mul", factors)], { keepdims: 0 });
  const result = gradient(build.graph([y, sum]), sum, new Map(wanted.map((name) => [name, "all"])));
  const gradients = [...result.gradients.values()];
  return { graph: { ...result.graph, outputs: [y, ...gradients] }, gradients };
}

function inputsOf(of: Case, graph: Graph, dtype: DType): ReadonlyMap<string, Tensor> {
  const random = createRandom(7);
  return new Map(
    graph.inputs.map((name) => {
      const shape = (graph.values.get(name)?.shape ?? []).map(Number);
      return [name, name === "mask" ? maskOf(of, dtype) : castTensor(random.tensor("float32", shape), dtype)];
    }),
  );
}

async function resultsOf(engine: Engine, of: Case, dtype: DType, options: { threads?: number; precision?: Precision }) {
  const { graph, gradients } = graphOf(of, dtype);
  const executable = await engine.compile(graph, { ...options, gradients });
  const program = executable.bind(await engine.variables(new Map()));
  const results = await program.run(inputsOf(of, graph, dtype));
  await executable.dispose();
  return graph.outputs.map((name) => results.get(name) as Tensor);
}

const cases: readonly (readonly [string, Case])[] = [
  ["nothing masked", base],
  ["one block", { ...base, queries: 257, keys: 256, size: 7, width: 5 }],
  [
    "causal, one sample, several blocks",
    { ...base, heads: 1, keyValueHeads: 1, queries: 801, keys: 801, mask: causal },
  ],
  ["causal with heads that share keys", { ...base, batch: 2, heads: 6, mask: causal }],
  ["sliding windows", { ...base, queries: 500, keys: 500, mask: window }],
  ["fewer queries than keys", { ...base, queries: 3, keys: 400, mask: (i, key) => (key <= 300 + i ? 0 : hidden) }],
  ["a mask of numbers", { ...base, mask: (query, key) => -Math.abs(query - key) / 16 }],
  ["a mask with holes", { ...base, mask: (query, key) => ((query + key) % 3 === 0 ? Number.NEGATIVE_INFINITY : 0) }],
  ["queries that see nothing", { ...base, mask: (query, key) => (query % 7 === 0 ? hidden : causal(query, key)) }],
  ["a first block that is hidden", { ...base, keys: 900, mask: (_, key) => (key < 700 ? -Infinity : 0) }],
  [
    "a mask for each sample",
    { ...base, batch: 3, heads: 4, mask: (_, key) => (key < 200 ? 0 : hidden), isMaskGiven: true },
  ],
  ["heads beside each other", { ...base, batch: 2, heads: 3, keyValueHeads: 3, isBeside: true, mask: causal }],
  ["a causal mask that only a run knows", { ...base, heads: 3, keyValueHeads: 1, mask: causal, isMaskGiven: true }],
  ["gradients of queries alone", { ...base, mask: causal, wanted: ["q"] }],
  ["gradients of keys and values", { ...base, mask: causal, wanted: ["k", "v"] }],
];

describe.skipIf(!isNativeBuilt)(`attention by blocks${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  const engine = createNativeEngine();
  const expected = new Map<string, readonly Tensor[]>();
  beforeAll(async () => {
    for (const [name, of] of cases) expected.set(name, await resultsOf(createReferenceEngine(), of, "float64", {}));
  }, 120_000);

  for (const precision of isNativeBuilt ? engine.precisions : [])
    test.each(cases)(`%s agrees with the reference engine in ${precision}`, async (name, of) => {
      for (const threads of [1, 3]) {
        const actual = await resultsOf(engine, of, "float32", { threads, precision });
        actual.forEach((tensor, i) => {
          const wanted = numbersOf(expected.get(name)?.[i] as Tensor);
          // Operands of products are rounded to 8 bits of a fraction, each about 50 dB below what it is.
          if (precision === "mixed") expect(sqnr(numbersOf(tensor), wanted)).toBeGreaterThan(44);
          else expectClose(tensor, wanted, { what: `output ${i}`, widen });
        });
      }
    });

  test("the same thread count gives the same bytes", async () => {
    const of: Case = { ...base, batch: 3, heads: 1, keyValueHeads: 1, queries: 500, keys: 500, mask: causal };
    const first = await resultsOf(engine, of, "float32", { threads: 4 });
    for (let i = 0; i < 5; i++) expect(await resultsOf(engine, of, "float32", { threads: 4 })).toStrictEqual(first);
  });

  test("a query all of whose scores are −∞ is no number, as a softmax of them is none", async () => {
    const of: Case = { ...base, mask: (query) => (query === 5 ? Number.NEGATIVE_INFINITY : 0) };
    const [y] = await resultsOf(engine, of, "float32", {});
    const rows = Array.from({ length: 2 * 300 }, (_, row) => numbersOf(y).slice(16 * row, 16 * row + 16));
    rows.forEach((row, i) => {
      expect(Array.from(row).every(Number.isNaN)).toBe(i % 300 === 5);
    });
  });

  const planOf = (of: Case, change: (graph: Graph) => Graph = (graph) => graph) => {
    const { graph, gradients } = graphOf(of, "float32");
    return lower(change(graph), new Map(), createNumerics(loadAddon(), "float32", 2), { gradients });
  };
  const kernelsOf = (of: Case, change?: (graph: Graph) => Graph): readonly string[] =>
    planOf(of, change).steps.map(({ kernel }) => kernel);

  test("nothing in memory has a number for each query and key but a mask that says more than which keys are seen", () => {
    const largest = (mask: Masking): number =>
      Math.max(
        ...planOf({ ...base, mask }).steps.flatMap(({ inputs, outputs }) =>
          [...inputs, ...outputs].map((slot) => slot?.bytes ?? 0),
        ),
      );
    expect(largest(causal)).toBe(4 * 2 * 300 * 16);
    expect(largest((query, key) => -Math.abs(query - key) / 16)).toBe(4 * 300 * 300);
    const { steps } = planOf({ ...base, mask: causal });
    expect(steps.filter(({ kernel }) => kernel.startsWith("attention")).map(({ kernel }) => kernel)).toEqual([
      "attention",
      "attentionGradient",
    ]);
  });

  test("what is wanted of the scores or the probabilities, and short sequences, stay as they are", () => {
    const isJoined = (kernels: readonly string[]): boolean => kernels.some((kernel) => kernel.startsWith("attention"));
    const keeping =
      (op: string) =>
      (graph: Graph): Graph => {
        const wanted = graph.nodes.find((node) => node.op === op)?.outputs ?? [];
        return { ...graph, outputs: [...graph.outputs, ...wanted] };
      };
    const scoreGradient = (graph: Graph): Graph => {
      const sub = graph.nodes.find((node) => node.op === "Sub")?.outputs ?? [];
      return { ...graph, outputs: [...graph.outputs, ...sub] };
    };
    expect(isJoined(kernelsOf(base))).toBe(true);
    expect(isJoined(kernelsOf(base, keeping("Softmax")))).toBe(false);
    expect(isJoined(kernelsOf(base, keeping("MatMul")))).toBe(false);
    expect(isJoined(kernelsOf(base, scoreGradient))).toBe(false);
    expect(isJoined(kernelsOf({ ...base, keys: 255 }))).toBe(false);
  });

  test("a plan's description names the steps", async () => {
    const { graph, gradients } = graphOf({ ...base, mask: causal }, "float32");
    const { steps } = await describePlan(graph, { gradients, threads: 2 });
    expect(steps.find(({ kernel }) => kernel === "attention")?.node).toBe("mixed");
    expect(steps.some(({ kernel }) => kernel === "attentionGradient")).toBe(true);
  });
});
