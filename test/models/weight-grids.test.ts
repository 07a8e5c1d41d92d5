// Weights on levels that are not evenly spaced: exported as tables, computed by ONNX Runtime when it opens the file, read back.
import { describe, expect, test } from "vitest";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { exportQdq } from "../../src/export/qdq.ts";
import { checkVerification, verifyExport } from "../../src/export/verify.ts";
import { inspectModel } from "../../src/inspect/inspect-model.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { numbersOf, type Tensor } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { runOptions } from "../../src/options/recipe.ts";
import { foldQuantizers } from "../../src/quantizers/fold.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import { quantizersOf } from "../../src/quantizers/quantizer.ts";
import { recognizeQuantizers } from "../../src/quantizers/recognize.ts";
import { expectClose } from "../support/close.ts";
import { isNativeBuilt } from "../support/native.ts";
import { optimizedNodes } from "../support/optimized-graph.ts";
import { quantizeBytes } from "../support/quantize-bytes.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import { quantizeTiny, tinyBatch, tinyClassifier, tinyOrigin, tinySize } from "../support/tiny-classifier.ts";

const engine = createReferenceEngine();
const inputs = new Map([["input", tinyBatch("float32", 8).images]]);

/** The first factor of every normalization is negative, the second 0. */
function convolutions(): Graph {
  const graph = tinyClassifier("float32", 3, 12);
  const constants = new Map(graph.constants);
  for (const { op, inputs: read } of graph.nodes) {
    const value = op === "BatchNormalization" && constants.get(read[1]);
    if (!value) continue;
    const data = Float32Array.from(numbersOf(value), (each, i) => (i === 0 ? -each : i === 1 ? 0 : each));
    constants.set(read[1], { ...value, data });
  }
  return { ...graph, constants };
}

/** Weights with their inputs first, grouped ones, and one that two layers share. */
function others(): Graph {
  const random = createRandom(5);
  const build = buildOn();
  const weight = (name: string, ...shape: number[]): string =>
    build.constant(random.uniformTensor("float32", shape, -0.3, 0.3), name);
  const x = build.input("input", { dtype: "float32", shape: ["N", 3, tinySize, tinySize] });
  const wide = build.node("Conv", [x, weight("depthwise.weight", 6, 1, 3, 3)], { group: 3 }, "depthwise");
  const up = build.node("ConvTranspose", [wide, weight("up.weight", 6, 4, 2, 2)], {}, "up");
  const pooled = build.node("ReduceMean", [up, build.ints([2])], { keepdims: 0 }, "pool");
  const square = weight("shared.weight", 7, 7);
  const first = build.node("Relu", [build.node("MatMul", [pooled, square], {}, "first")], {}, "relu");
  const second = build.node("MatMul", [first, square], {}, "second");
  const flat = build.node("Flatten", [second], { axis: 1 }, "flatten");
  return build.graph([
    build.node("Gemm", [flat, weight("head.weight", 5, 28), weight("head.bias", 5)], { transB: 1 }, "head"),
  ]);
}

const outputOf = async (graph: Graph, on = engine): Promise<Tensor> =>
  (await runGraph(on, graph, inputs)).get(graph.outputs[0]) as Tensor;

function exported(graph: Graph, storage: "packed" | "int4" | "int8") {
  const folded = foldQuantizers(graph, "float");
  const result = exportQdq(folded, tinyOrigin, storage);
  return { folded, result, bytes: writeOnnx(result.model, { opset: result.opset }) };
}

const isHalfBytes = (constants: Graph["constants"]): boolean =>
  [...constants.values()].some(({ dtype, fileBits }) => dtype === "uint4" || fileBits === 4);

const forms = [
  { weightGrid: "power", weights: 3 },
  { weightGrid: "power", weights: 8 },
  { weightGrid: "codebook", weights: 2 },
  { weightGrid: "codebook", weights: 4 },
] as const;
const widened = { widen: { factor: 100, because: "scales take the normalizations' factors" } };

describe.each([
  ["convolutions", convolutions],
  ["others", others],
])("%s", (_, build) => {
  test.each(forms)("ONNX Runtime computes what folding gives, with the table gone: %o", async (form) => {
    const graph = quantizeTiny(build(), form);
    for (const storage of ["packed", "int4", "int8"] as const) {
      const { folded, result, bytes } = exported(graph, storage);
      expectClose(await outputOf(folded.graph), await outputOf(graph), widened);
      const run = { batches: [inputs], open: openDeployed, context: { engine, seed: 0 } };
      checkVerification(await verifyExport({ folded, exported: result, model: bytes }, run), undefined);
      const kept = (await optimizedNodes(bytes)).map(({ opType }) => opType);
      expect(kept.filter((op) => /^(Gather|Mul|Cast|BitShift|QGemm)$|QLinear(Conv|MatMul)|Integer/.test(op))).toEqual(
        [],
      );
      const { constants } = readOnnx(bytes, { name: "written" }).graph;
      expect(result.opset).toBe(isHalfBytes(constants) ? 21 : 13);
      if (storage === "int4") expect(isHalfBytes(constants)).toBe(form.weights <= 4);
    }
  });

  test.each(forms)("is read back as the same quantizers and written again: %o", async (form) => {
    const graph = quantizeTiny(build(), form);
    const { result, bytes } = exported(graph, "packed");
    const { graph: file, origin } = readOnnx(bytes, { name: "model.onnx" });
    const found = inspectModel(file).alreadyQuantized;
    expect(found).toHaveLength(linearLayers(graph).length);
    for (const { dtype, bits, sizeBytes, parameters } of found) {
      expect(dtype).toBe("uint8");
      expect(bits).toBeLessThanOrEqual(form.weights);
      // What a node takes is more than a small weight has to save.
      if (parameters > 200)
        expect(sizeBytes).toBeLessThanOrEqual(Math.ceil(parameters * (form.weights <= 4 ? 0.5 : 1)));
    }
    const read = recognizeQuantizers(file);
    expect(read.nodes.filter(({ op }) => op === "LevelDequantize")).toEqual([]);
    expect(quantizersOf(read).filter(({ levels }) => levels !== "")).toHaveLength(
      quantizersOf(graph).filter(({ levels }) => levels !== "").length,
    );
    expectClose(await outputOf(read), await outputOf(result.model.graph));
    const again = readOnnx(writeOnnx({ graph: file, origin }, { opset: result.opset }), { name: "again.onnx" });
    expect(numbersOf(await outputOf(again.graph))).toEqual(numbersOf(await outputOf(file)));
    expectClose(await outputOf(exported(read, "packed").result.model.graph), await outputOf(read));
  });
});

test.each([2, 4])("a weight of %d bits with zero points that two layers share is stored unsigned", async (weights) => {
  const { folded, result, bytes } = exported(quantizeTiny(others(), { weights, asymmetricWeights: true }), "packed");
  const run = { batches: [inputs], open: openDeployed, context: { engine, seed: 0 } };
  checkVerification(await verifyExport({ folded, exported: result, model: bytes }, run), undefined);
});

const engines = [
  { name: "onnxruntime", make: createOnnxRuntimeEngine },
  ...(isNativeBuilt ? [{ name: "native", make: createNativeEngine }] : []),
];

test.each(engines)("the $name engine runs quantized and folded graphs", async ({ make }) => {
  const graph = quantizeTiny(others(), { weights: 3, weightGrid: "codebook" });
  for (const each of [graph, foldQuantizers(graph, "float").graph])
    expectClose(await outputOf(each, make()), await outputOf(each), {
      widen: { factor: 10, because: "engines add in other orders" },
    });
});

test("a whole run: the codebook sees what each weight multiplies, and the file has its size", async () => {
  const graph = others();
  const bytes = writeOnnx({ graph, origin: tinyOrigin }, { opset: 13 });
  const run = async (quantize: object) =>
    quantizeBytes(bytes, inputs, { quantize: { weights: 4, activations: "float", ...quantize } });
  const [uniform, codebook] = [await run({ weightGrid: "uniform" }), await run({ weightGrid: "codebook" })];
  expect(codebook.outputs[0].sqnrDb).toBeGreaterThan(uniform.outputs[0].sqnrDb);
  // A table of 16 floats for each of four weights, and nodes that look it up, but no zero points.
  expect(codebook.bytes.length - uniform.bytes.length).toBeLessThan(4 * (16 * 4 + 400));
});

test.each(["power", "codebook"])("nupes trains weights on levels: %s", async (weightGrid) => {
  const bytes = writeOnnx({ graph: others(), origin: tinyOrigin }, { opset: 13 });
  const quantize = { weights: 3, activations: "float", weightGrid };
  const nupes = { iterations: 60, roundingSamples: 8, batch: 4, unit: "network" };
  const [rounded, trained] = [
    await quantizeBytes(bytes, inputs, { quantize }),
    await quantizeBytes(bytes, inputs, { quantize, methods: [{ nupes }] }),
  ];
  expect(trained.outputs[0].sqnrDb).toBeGreaterThan(rounded.outputs[0].sqnrDb + 1);
  expect([...trained.awayFromNearest.values()].some(({ count }) => count > 0)).toBe(true);
  await expect(
    quantizeBytes(bytes, inputs, { quantize, methods: [{ nupes: { ...nupes, variable: "sigmoid" } }] }),
  ).rejects.toThrow(`variable is sigmoid, and weightGrid ${weightGrid}`);
});

test.each([
  [{ quantize: { weightGrid: "power" }, methods: ["gptq"] }, "weightGrid is power, and gptq works on evenly spaced"],
  [{ quantize: { weightGrid: "power" }, methods: ["qat"] }, "weightGrid is power, and qat works on evenly spaced"],
  [{ quantize: { weightGrid: "codebook", placement: "runtime" } }, "weightGrid is codebook; placement runtime is for"],
  [{ quantize: { weightGrid: "codebook", groupSize: 16 } }, "weightGrid is codebook; groupSize is 16; a table"],
  [{ quantize: { weightGrid: "power", asymmetricWeights: true } }, "weightGrid is power; asymmetricWeights is true"],
  [{ quantize: { weightGrid: "power", target: "tensorrt" } }, "weightGrid is power; TensorRT knows evenly spaced"],
])("is refused where something knows evenly spaced weights alone: %j", (recipe, message) => {
  expect(() => runOptions.parse(recipe)).toThrow(message);
});
