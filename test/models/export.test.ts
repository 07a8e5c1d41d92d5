// Whole models, quantized and exported: the file does in ONNX Runtime what the folded graph does.
import { describe, expect, test } from "vitest";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { exportQdq } from "../../src/export/qdq.ts";
import { checkVerification, verifyExport } from "../../src/export/verify.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { numbersOf, type Tensor } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { foldQuantizers } from "../../src/quantizers/fold.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import { sqnr } from "../support/close.ts";
import { runGraph } from "../support/run-graph.ts";
import { quantized } from "./quantized.ts";
import { batchFor, originOf, type TinyModel, tinyModels } from "./tiny-models.ts";
import { train, withTrained } from "./train.ts";

const context = { engine: createReferenceEngine(), seed: 0 };
const batch = 32;
const open = (model: Uint8Array | string) => openDeployed(model, { threads: 1 });

const combinations = (["inputs", "runtime"] as const).flatMap((placement) =>
  [8, 4].flatMap((bits) => (["packed", "int8"] as const).map((storage) => ({ placement, bits, storage }))),
);

function exported(model: TinyModel, graph: Graph, { placement, storage }: (typeof combinations)[number]) {
  const folded = foldQuantizers(graph, placement === "runtime" ? "int32" : "float");
  const result = exportQdq(folded, originOf(model), storage);
  return { folded, result, bytes: writeOnnx(result.model, { opset: result.opset }) };
}

const quantize = (model: TinyModel, { placement, bits }: (typeof combinations)[number]): Promise<Graph> =>
  quantized(model, "float32", { placement, weights: bits, activations: bits });

const inputsOf = (model: TinyModel): ReadonlyMap<string, Tensor> =>
  new Map([["input", batchFor(model, "float32", batch, 5).images]]);

const typesOf = (graph: Graph, names: readonly string[]) =>
  names.map((name) => [name, graph.values.get(name)?.dtype, graph.values.get(name)?.shape]);

describe.each(tinyModels)("$name", (model) => {
  test.each(combinations)("W$bits A$bits, placement $placement, stored $storage, is verified", async (combination) => {
    const graph = await quantize(model, combination);
    const { folded, result, bytes } = exported(model, graph, combination);
    const isPacked = combination.bits === 4 && combination.storage === "packed";
    expect(result.opset).toBe(Math.max(model.opset, 13, isPacked ? 21 : 0));

    const read = readOnnx(bytes, { name: "exported.onnx" });
    const { opset: _, irVersion: __, ...kept } = originOf(model);
    expect(read.origin).toMatchObject({ ...kept, opset: result.opset });
    expect(typesOf(read.graph, read.graph.inputs)).toEqual(typesOf(graph, graph.inputs));
    expect(typesOf(read.graph, read.graph.outputs)).toEqual(typesOf(graph, graph.outputs));
    expect(folded.layers.map(({ name }) => name)).toEqual(linearLayers(graph).map(({ name }) => name));

    checkVerification(
      await verifyExport({ folded, exported: result, model: bytes }, { batches: [inputsOf(model)], open, context }),
      graph.outputs[0],
    );
  });

  test.each(combinations.filter(({ storage }) => storage === "packed"))(
    "W$bits A$bits, placement $placement, trained from fractional zero points and negative normalizations",
    async (combination) => {
      const start = unsettled(await quantize(model, combination));
      const run = await train(model, start, { engine: context.engine, dtype: "float32", steps: 3 });
      const trained = withTrained(start, run);
      const { folded, result, bytes } = exported(model, trained, combination);
      const [before, after] = await Promise.all(
        [trained, foldQuantizers(trained, "float").graph].map((graph) =>
          runGraph(context.engine, graph, inputsOf(model)),
        ),
      );
      const [expected, actual] = [before, after].map((outputs) => outputs.get(trained.outputs[0]) as Tensor);
      expect(sqnr(numbersOf(actual), numbersOf(expected)), "SQNR of folding, biases left in float").toBeGreaterThan(25);
      checkVerification(
        await verifyExport({ folded, exported: result, model: bytes }, { batches: [inputsOf(model)], open, context }),
        trained.outputs[0],
      );
    },
  );
});

test.each(["inputs", "runtime"] as const)(
  "a model that has the names which exporting gives is exported to the same, placement %s",
  async (placement) => {
    const [model] = tinyModels;
    const combination = { placement, bits: 4, storage: "packed" } as const;
    const graph = await quantize(model, combination);
    const first = exported(model, graph, combination);
    const own = new Set(namesIn(graph));
    const added = [...new Set(namesIn(first.result.model.graph))].filter((name) => !own.has(name));
    for (const names of [added, added.toReversed()]) {
      const taken = withNames(graph, names);
      const again = exported(model, taken, combination);
      checkVerification(
        await verifyExport(
          { ...again, exported: again.result, model: again.bytes },
          { batches: [inputsOf(model)], open, context },
        ),
        taken.outputs[0],
      );
      const [expected, actual] = await Promise.all(
        [first, again].map(({ result }) => runGraph(context.engine, result.model.graph, inputsOf(model))),
      );
      expect([...actual]).toEqual([...expected]);
    }
  },
);

const namesIn = ({ values, nodes }: Graph): string[] => [...values.keys(), ...nodes.map(({ name }) => name)];

/** The graph with its nodes, constants and the values between under these names, as far as they go. */
function withNames(graph: Graph, names: readonly string[]): Graph {
  const inner = [...graph.values.keys()].filter(
    (name) => !graph.inputs.includes(name) && !graph.outputs.includes(name),
  );
  const renamed = new Map(inner.map((name, i) => [name, names[i] ?? name]));
  const rename = (name: string): string => renamed.get(name) ?? name;
  return {
    ...graph,
    nodes: graph.nodes.map((node, i) => ({
      ...node,
      name: names[i] ?? node.name,
      inputs: node.inputs.map(rename),
      outputs: node.outputs.map(rename),
    })),
    values: new Map([...graph.values].map(([name, type]) => [rename(name), type])),
    constants: new Map([...graph.constants].map(([name, value]) => [rename(name), value])),
  };
}

/** Zero points between integers; every normalization's first factor negative, its second zero. */
function unsettled(graph: Graph): Graph {
  const constants = new Map(graph.constants);
  const change = (name: string, to: (value: number, i: number) => number): void => {
    const value = constants.get(name);
    if (value) constants.set(name, { ...value, data: Float32Array.from(numbersOf(value), to) });
  };
  for (const { op, inputs } of graph.nodes)
    if (op === "BatchNormalization") change(inputs[1], (value, i) => (i === 0 ? -value : i === 1 ? 0 : value));
  for (const name of graph.constants.keys()) if (name.endsWith("_zero_point")) change(name, (value) => value + 0.4);
  return { ...graph, constants };
}
