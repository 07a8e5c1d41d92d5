// Whole models, quantized and exported: the file does in ONNX Runtime what the folded graph does.
import { describe, expect, test } from "vitest";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { exportQdq } from "../../src/export/qdq.ts";
import { checkVerification, verifyExport } from "../../src/export/verify.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { foldQuantizers } from "../../src/quantizers/fold.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import { quantized } from "./quantized.ts";
import { batchFor, originOf, type TinyModel, tinyModels } from "./tiny-models.ts";

const context = { engine: createReferenceEngine(), seed: 0 };
const batch = 32;
const open = (bytes: Uint8Array) => openDeployed(bytes, { threads: 1 });

const combinations = (["inputs", "runtime"] as const).flatMap((placement) =>
  [8, 4].flatMap((bits) => (["packed", "int8"] as const).map((storage) => ({ placement, bits, storage }))),
);

async function exported(model: TinyModel, { placement, bits, storage }: (typeof combinations)[number]) {
  const graph = await quantized(model, "float32", { placement, weights: bits, activations: bits });
  const folded = foldQuantizers(graph, placement === "runtime" ? "int32" : "float");
  const result = exportQdq(folded, originOf(model), storage);
  return { graph, folded, result, bytes: writeOnnx(result.model, { opset: result.opset }) };
}

const typesOf = (graph: Graph, names: readonly string[]) =>
  names.map((name) => [name, graph.values.get(name)?.dtype, graph.values.get(name)?.shape]);

describe.each(tinyModels)("$name", (model) => {
  test.each(combinations)("W$bits A$bits, placement $placement, stored $storage, is verified", async (combination) => {
    const { graph, folded, result, bytes } = await exported(model, combination);
    const isPacked = combination.bits === 4 && combination.storage === "packed";
    expect(result.opset).toBe(Math.max(model.opset, 13, isPacked ? 21 : 0));

    const read = readOnnx(bytes, { name: "exported.onnx" });
    const { opset: _, irVersion: __, ...kept } = originOf(model);
    expect(read.origin).toMatchObject({ ...kept, opset: result.opset });
    expect(typesOf(read.graph, read.graph.inputs)).toEqual(typesOf(graph, graph.inputs));
    expect(typesOf(read.graph, read.graph.outputs)).toEqual(typesOf(graph, graph.outputs));
    expect(folded.layers.map(({ name }) => name)).toEqual(linearLayers(graph).map(({ name }) => name));

    const inputs = [new Map([["input", batchFor(model, "float32", batch, 5).images]])];
    checkVerification(await verifyExport(folded, result, bytes, inputs, open, context));
  });
});
