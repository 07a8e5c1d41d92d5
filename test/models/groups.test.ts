// Weights in groups of inputs, and with zero points: exported, read back and trained as those with a scale per row are.
import { describe, expect, test } from "vitest";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { exportQdq } from "../../src/export/qdq.ts";
import { checkVerification, verifyExport } from "../../src/export/verify.ts";
import { inspectModel } from "../../src/inspect/inspect-model.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { numbersOf, sizeOf, type Tensor } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { foldQuantizers } from "../../src/quantizers/fold.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import type { QuantizeOptions } from "../../src/quantizers/quantize-options.ts";
import { quantizersOf } from "../../src/quantizers/quantizer.ts";
import { recognizeQuantizers } from "../../src/quantizers/recognize.ts";
import { parametersOf } from "../../src/training/parameters.ts";
import { expectClose, sqnr } from "../support/close.ts";
import { isNativeBuilt } from "../support/native.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import { quantizeTiny, tinyBatch, tinyClassifier, tinyOrigin, tinySize } from "../support/tiny-classifier.ts";
import { trainOn } from "./train.ts";

const engine = createReferenceEngine();
const open = (model: Uint8Array | string) => openDeployed(model, { threads: 1 });
const inputs = new Map([["input", tinyBatch("float32", 16).images]]);

/** 40 channels, in groups of 16 and 32 with a smaller last one; the classifier's convolutions have a window, its head has none. */
const convolutions = (): Graph => withNegativeFactors(tinyClassifier("float32", 3, 40));

/** The first factor of every normalization is negative, the second 0. */
function withNegativeFactors(graph: Graph): Graph {
  const constants = new Map(graph.constants);
  for (const { op, inputs } of graph.nodes) {
    const value = op === "BatchNormalization" && constants.get(inputs[1]);
    if (!value) continue;
    const data = Float32Array.from(numbersOf(value), (each, i) => (i === 0 ? -each : i === 1 ? 0 : each));
    constants.set(inputs[1], { ...value, data });
  }
  return { ...graph, constants };
}

/** Weights with their inputs first, and a bias added behind the product. */
function matrices(): Graph {
  const random = createRandom(5);
  const build = buildOn();
  const x = build.input("input", { dtype: "float32", shape: ["N", 3, tinySize, tinySize] });
  const flat = build.node("Flatten", [x], { axis: 1 }, "flatten");
  const weight = (name: string, ...shape: number[]): string =>
    build.constant(random.uniformTensor("float32", shape, -0.2, 0.2), name);
  const first = build.node("MatMul", [flat, weight("first.weight", 192, 72)], {}, "first");
  const hidden = build.node("Relu", [build.node("Add", [first, weight("first.bias", 72)], {}, "add")], {}, "relu");
  const second = build.node("Gemm", [hidden, weight("second.weight", 72, 20), weight("second.bias", 20)], {}, "second");
  const third = build.node("Gemm", [second, weight("third.weight", 4, 20)], { transB: 1 }, "third");
  return build.graph([third], "matrices");
}

/** Layers with nothing between them but quantizers. */
function bare(): Graph {
  const random = createRandom(6);
  const build = buildOn();
  const weight = (name: string, ...shape: number[]): string =>
    build.constant(random.uniformTensor("float32", shape, -0.2, 0.2), name);
  const x = build.input("input", { dtype: "float32", shape: ["N", 3, tinySize, tinySize] });
  const wide = build.node("Conv", [x, weight("wide.weight", 40, 3, 1, 1)], { kernel_shape: [1, 1] }, "wide");
  const first = build.node("Conv", [wide, weight("conv.weight", 40, 40, 3, 3)], { kernel_shape: [3, 3] }, "conv");
  const pooled = build.node("ReduceMean", [first, build.ints([2, 3])], { keepdims: 0 }, "pool");
  const second = build.node("MatMul", [pooled, weight("up.weight", 40, 48)], {}, "up");
  return build.graph([build.node("MatMul", [second, weight("down.weight", 48, 4)], {}, "down")], "bare");
}

const models = [
  { name: "bare layers", build: bare },
  { name: "convolutions", build: convolutions },
  { name: "matrices", build: matrices },
];

const forms = ([16, 32, "whole"] as const).flatMap((groupSize) =>
  [false, true].flatMap((asymmetricWeights) => [2, 4, 8].map((weights) => ({ groupSize, asymmetricWeights, weights }))),
);

function exported(graph: Graph, storage: "packed" | "int8", biases: "float" | "int32" = "float") {
  const folded = foldQuantizers(graph, biases);
  const result = exportQdq(folded, tinyOrigin, storage);
  return { folded, result, bytes: writeOnnx(result.model, { opset: result.opset }) };
}

const outputOf = async (graph: Graph): Promise<Tensor> =>
  (await runGraph(engine, graph, inputs)).get(graph.outputs[0]) as Tensor;

const describeQuantizers = (graph: Graph) =>
  quantizersOf(graph).map(({ bits, zeroPoint, granularity }) => ({ bits, granularity, isSymmetric: zeroPoint === "" }));

const sorted = (list: readonly unknown[]): string[] => list.map((item) => JSON.stringify(item)).sort();

describe.each(models)("$name", ({ build }) => {
  const quantize = (options: Partial<QuantizeOptions>): Graph => quantizeTiny(build(), { activations: 8, ...options });

  test.each(forms)("exported does in ONNX Runtime what folding gives: %o", async (form) => {
    const graph = quantize(form);
    for (const storage of ["packed", "int8"] as const) {
      const { folded, result, bytes } = exported(graph, storage);
      const stored = [...readOnnx(bytes, { name: "written" }).graph.constants.values()];
      const widths = new Set(stored.flatMap(({ fileBits }) => fileBits ?? []));
      expect(widths.size > 0).toBe(storage === "packed" && form.weights <= 4);
      expect(result.opset).toBe(form.groupSize !== "whole" || widths.has(4) ? 21 : 13);
      expectClose(await outputOf(folded.graph), await outputOf(graph), {
        widen: { factor: 100, because: "scales take the normalizations' factors, sums of hundreds of products" },
      });
      checkVerification(
        await verifyExport(
          { folded, exported: result, model: bytes },
          { batches: [inputs], open, context: { engine, seed: 0 } },
        ),
        undefined,
      );
    }
  });

  test.each(forms)("is read back as the same quantizers: %o", async (form) => {
    const graph = quantize(form);
    for (const storage of ["packed", "int8"] as const) {
      const { result, bytes } = exported(graph, storage);
      const file = readOnnx(bytes, { name: "groups.onnx" }).graph;
      expect(inspectModel(file).alreadyQuantized).toHaveLength(linearLayers(graph).length);
      const read = recognizeQuantizers(file);
      expect(read.nodes.filter(({ op }) => op === "DequantizeLinear")).toEqual([]);
      expect(sorted(describeQuantizers(read))).toEqual(sorted(describeQuantizers(graph)));
      expectClose(await outputOf(read), await outputOf(result.model.graph));
      const integers = ({ graph }: { readonly graph: Graph }) =>
        sorted([...graph.constants.values()].filter(({ dtype }) => /^u?int[48]$/.test(dtype)).map(({ data }) => data));
      expect(integers(exported(read, storage).result.model)).toEqual(integers(result.model));
    }
  });

  test.each([false, true])(
    "placement runtime, zero points %s: layers in groups take no integer bias",
    async (asymmetricWeights) => {
      const graph = quantize({ groupSize: 16, asymmetricWeights, placement: "runtime" });
      const { folded, result, bytes } = exported(graph, "int8", "int32");
      const blocks = new Set(
        folded.graph.nodes.filter(({ attributes }) => "block_size" in attributes).flatMap(({ outputs }) => outputs),
      );
      const layers = folded.graph.nodes.filter(({ inputs }) => blocks.has(inputs[1]));
      expect(layers.length).toBeGreaterThan(0);
      for (const { inputs: read } of layers) expect(read).toHaveLength(2);
      checkVerification(
        await verifyExport(
          { folded, exported: result, model: bytes },
          { batches: [inputs], open, context: { engine, seed: 0 } },
        ),
        undefined,
      );
    },
  );

  test("smaller groups and zero points are nearer to the float weights", async () => {
    const float = build();
    const errors = await Promise.all(
      [{ groupSize: "whole" }, { groupSize: 32 }, { groupSize: 16 }, { groupSize: 16, asymmetricWeights: true }].map(
        async (form) => {
          const graph = quantize({ weights: 3, ...(form as Partial<QuantizeOptions>) });
          const names = quantizersOf(graph).filter(({ granularity }) => granularity !== "tensor");
          const outputs = names.map(({ output }) => output);
          const values = await runGraph(engine, { ...graph, outputs }, inputs);
          const ratios = names.map(({ value, output }) =>
            sqnr(numbersOf(values.get(output) as Tensor), numbersOf(float.constants.get(value) as Tensor)),
          );
          return ratios.reduce((sum, each) => sum + each, 0) / ratios.length;
        },
      ),
    );
    expect(errors.toSorted((a, b) => a - b)).toEqual(errors);
  });

  const engines = [
    { name: "reference", make: createReferenceEngine },
    { name: "onnxruntime", make: createOnnxRuntimeEngine },
    ...(isNativeBuilt ? [{ name: "native", make: createNativeEngine }] : []),
  ];
  test.each(engines)("trains on the $name engine, all of it and by rows", async ({ make }) => {
    const graph = quantize({ weights: 3, groupSize: 16, asymmetricWeights: true });
    const layers = linearLayers(graph);
    const qparams = parametersOf(graph).filter(({ role }) => /^weight-(scale|zero-point)$/.test(role));
    expect(qparams).toHaveLength(2 * layers.length);
    const batch = tinyBatch("float32", 16);
    const all = await trainOn(batch, graph, { engine: make(), dtype: "float32", steps: 12 });
    expect(all.losses[11]).toBeLessThan(all.losses[0]);

    const rows = new Map(layers.map(({ weight }) => [weight, [1, 3]]));
    const plan = new Map(layers.map(({ weight }) => [weight, "rows"] as const));
    const some = await trainOn(batch, graph, { engine: make(), dtype: "float32", steps: 12, plan, rows });
    expect(some.losses[11]).toBeLessThan(some.losses[0]);
    for (const { name, layer } of qparams) {
      const [before, after] = [graph.constants.get(name) as Tensor, some.variables.get(name) as Tensor];
      const axis = Math.min(layer?.rowAxis ?? 0, before.shape.length - 1);
      const inner = sizeOf(before.shape.slice(axis + 1));
      const moved = numbersOf(before).map((value, i) =>
        value === numbersOf(after)[i] ? -1 : Math.floor(i / inner) % before.shape[axis],
      );
      expect(
        [...new Set(moved)].filter((row) => ![-1, 1, 3].includes(row)),
        `rows of ${name}`,
      ).toEqual([]);
    }
    const scales = qparams.filter(({ role }) => role === "weight-scale");
    expect(
      scales.some(({ name }) => String(some.variables.get(name)?.data) !== String(graph.constants.get(name)?.data)),
    ).toBe(true);
  });

  test.each(engines.slice(1))("a step on the $name engine is the reference engine's", async ({ make }) => {
    const graph = quantize({ weights: 4, groupSize: 16, asymmetricWeights: true });
    const rows = new Map(linearLayers(graph).map(({ weight }) => [weight, [0, 2]]));
    const plan = new Map([...rows].map(([weight], i) => [weight, i === 0 ? "rows" : "all"] as const));
    const batch = tinyBatch("float32", 16);
    const [given, wanted] = await Promise.all(
      [make(), engine].map((each) => trainOn(batch, graph, { engine: each, dtype: "float32", plan, rows })),
    );
    for (const { name } of parametersOf(graph).filter(({ role }) => role.startsWith("weight"))) {
      const [actual, expected] = [given, wanted].map(({ variables }) => variables.get(name) as Tensor);
      expect(sqnr(numbersOf(actual), numbersOf(expected)), name).toBeGreaterThan(80);
    }
  });
});
