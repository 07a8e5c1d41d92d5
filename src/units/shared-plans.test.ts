import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../test/support/native.ts";
import { createRandom } from "../../test/support/random.ts";
import { quantizeTiny, tinyBatch } from "../../test/support/tiny-classifier.ts";
import type { Engine } from "../engines/engine.ts";
import { createNativeEngine } from "../engines/native/native-engine.ts";
import { createOnnxRuntimeEngine } from "../engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { type Tensor, tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { adaroundLearning } from "../reconstruction/options.ts";
import type { Phase } from "../reconstruction/phase.ts";
import { reconstruct } from "../reconstruction/reconstruct.ts";
import { withSharedPlans } from "./shared-plans.ts";

const random = createRandom(2);
const normal = (shape: readonly number[], deviation: number): Tensor =>
  tensorOf(
    "float32",
    shape,
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => deviation * random.normal()),
  );

/** A convolution, three residual blocks that differ in nothing but numbers and names, and a classifier. */
function fiveUnits(): Graph {
  const build = buildOn();
  const conv = (name: string, x: string, from: number): string =>
    build.node(
      "Conv",
      [x, build.constant(normal([4, from, 3, 3], 0.3), `${name}.weight`)],
      { pads: [1, 1, 1, 1] },
      name,
    );
  let x = build.node("Relu", [conv("stem", build.input("input", { dtype: "float32", shape: ["N", 3, 8, 8] }), 3)]);
  for (const name of ["c", "a", "b"]) {
    const inner = build.node("Relu", [conv(`${name}.first`, x, 4)]);
    x = build.node("Relu", [build.node("Add", [conv(`${name}.second`, inner, 4), x])]);
  }
  const pooled = build.node("Flatten", [build.node("GlobalAveragePool", [x])], { axis: 1 });
  return build.graph([build.node("Gemm", [pooled, build.constant(normal([4, 5], 0.5), "head.weight")], {}, "head")]);
}

const float = fiveUnits();
const quantized = quantizeTiny(float, { weights: 3, activations: 4 });
const phase: Phase = {
  rounding: {
    ...adaroundLearning,
    subset: { by: "magnitude", share: 1 },
    learningRate: 0.3,
    lambda: 0.01,
    betaStart: 20,
    betaEnd: 2,
    roundingWarmup: 0.2,
  },
  stepRate: 1e-2,
  inputs: { mixed: 0.5 },
  activations: "quantized",
  drop: 0.5,
  loss: { kind: "mse", power: 2 },
  iterations: 5,
};

async function* batches(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
  for (const seed of [1, 2]) yield new Map([["input", tinyBatch("float32", 4, seed).images]]);
}

async function reconstructed(engine: Engine): Promise<readonly unknown[]> {
  const job = {
    quantized,
    float,
    batches,
    phases: [phase],
    unit: "block",
    batch: 4,
    cacheBytes: 2 ** 20,
    cacheFloats: "float32",
    checkpoints: undefined,
  } as const;
  const { graph, units } = await reconstruct(job, { engine, seed: 1, threads: 1 });
  return [units, [...graph.constants].map(([name, { data }]) => [name, data])];
}

/** Tells which graphs it compiles. */
const counting = (engine: Engine, compiled: Graph[]): Engine => ({
  ...engine,
  compile: (graph, options) => {
    compiled.push(graph);
    return engine.compile(graph, options);
  },
});

const engines: readonly (readonly [string, () => Engine])[] = [
  ["reference", createReferenceEngine],
  ["onnxruntime", createOnnxRuntimeEngine],
  ["native", createNativeEngine],
];

describe.each(engines)("units of one structure, %s", (name, create) => {
  const skip = name === "native" && !isNativeBuilt ? notBuilt : "";
  test.skipIf(skip !== "")(
    `are compiled once, and come out as if each were compiled${skip && ` (${skip})`}`,
    async () => {
      const compiled: Graph[] = [];
      const alone: Graph[] = [];
      const engine = create();
      const shared = await reconstructed(counting(engine, compiled));
      // What an engine says it cannot run is not shared.
      const each = await reconstructed({ ...counting(engine, alone), supports: () => false });
      const steps = (graphs: readonly Graph[]): number => graphs.filter(({ updates }) => updates.size > 0).length;
      expect([steps(compiled), steps(alone)]).toEqual([3, 5]);
      expect(shared).toEqual(each);
    },
  );
});

test("programs of one plan have their own numbers, under the graph's own names", async () => {
  const compiled: Graph[] = [];
  const graphOf = (prefix: string, factors: readonly number[], isLast: boolean): Graph => {
    const build = buildOn();
    const x = build.input(`${prefix}x`, { dtype: "float32", shape: [2] });
    const sum = build.variable(`${prefix}sum`, { dtype: "float32", shape: [2] });
    const scaled = build.node("Mul", [x, build.constant(tensorOf("float32", [2], factors), `${prefix}factors`)]);
    const added = build.node("Add", [sum, scaled], {}, `${prefix}added`);
    build.update(sum, added);
    return build.graph([isLast ? scaled : added]);
  };
  const context = { engine: counting(createReferenceEngine(), compiled), seed: 0 };
  await withSharedPlans(context, async ({ engine }) => {
    const run = async (prefix: string, factors: readonly number[], isLast = false): Promise<number[]> => {
      const graph = graphOf(prefix, factors, isLast);
      const executable = await engine.compile(graph);
      const variables = await engine.variables(new Map([[`${prefix}sum`, tensorOf("float32", [2], [10, 20])]]));
      const program = executable.bind(variables);
      const inputs = new Map([[`${prefix}x`, tensorOf("float32", [2], [1, 1])]]);
      await program.run(inputs);
      const outputs = await program.run(inputs, { fetch: graph.outputs });
      expect(variables.names()).toEqual([`${prefix}sum`]);
      const sum = await variables.read(`${prefix}sum`);
      await executable.dispose();
      return [sum, outputs.get(graph.outputs[0])].flatMap((value) => Array.from(value?.data ?? [], Number));
    };
    expect(await run("a.", [1, 2])).toEqual([12, 24, 12, 24]);
    expect(await run("b.", [3, 4])).toEqual([16, 28, 16, 28]);
    expect(await run("c.", [3, 4], true)).toEqual([16, 28, 3, 4]);
  });
  expect(compiled.length).toBe(2);
});

test("a mask is no variable of the plan, which those that have another one do not share", async () => {
  const compiled: Graph[] = [];
  const size = 256;
  const maskOf = (hidden: number): Tensor =>
    tensorOf(
      "float32",
      [size, size],
      Array.from({ length: size * size }, (_, i) => (i % size <= i / size ? 0 : hidden)),
    );
  const graphOf = (mask: Tensor, factor: number): Graph => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [2, size] });
    const scaled = build.node("Mul", [x, build.constant(tensorOf("float32", [2, 1], [factor, factor]), "factor")]);
    const apart = build.node("Unsqueeze", [scaled, build.ints([1])]);
    const masked = build.node("Add", [apart, build.constant(mask, "mask")]);
    build.update(build.variable("sum", { dtype: "float32", shape: [2, size, size] }), masked);
    return build.graph([masked]);
  };
  const [first, second] = [maskOf(-1e38), maskOf(-1e37)];
  await withSharedPlans({ engine: counting(createReferenceEngine(), compiled), seed: 0 }, async ({ engine }) => {
    for (const [mask, factor] of [
      [first, 1],
      [first, 2],
      [second, 2],
    ] as const)
      await engine.compile(graphOf(mask, factor));
  });
  const masks = compiled.map(({ constants }) => [...constants.values()].filter(({ dtype }) => dtype === "float32"));
  expect(masks).toEqual([[first], [second]]);
});

test("indices as large as a mask are what they are", async () => {
  const compiled: Graph[] = [];
  const size = 2 ** 16;
  const graphOf = (first: bigint): Graph => {
    const build = buildOn();
    const table = build.variable("table", { dtype: "float32", shape: [2] });
    const indices = tensor("int64", [size], new BigInt64Array(size).fill(1n).fill(first, 0, 1));
    build.update(table, build.node("Mul", [table, table]));
    return build.graph([build.node("Gather", [table, build.constant(indices, "indices")])]);
  };
  await withSharedPlans({ engine: counting(createReferenceEngine(), compiled), seed: 0 }, async ({ engine }) => {
    for (const first of [0n, 0n, 1n]) await engine.compile(graphOf(first));
  });
  expect(compiled.length).toBe(2);
});
