// The real files: read, and run by every engine, against plain ONNX Runtime on the file itself.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { calibrate } from "../../src/calibration/calibrate.ts";
import type { Engine } from "../../src/engines/engine.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { assert } from "../../src/ir/errors.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../../src/ir/tensor.ts";
import { readModel } from "../../src/node/read-model.ts";
import { freeBatch } from "../../src/passes/free-batch.ts";
import { insertQuantizers } from "../../src/quantizers/insert.ts";
import { quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import { findSites } from "../../src/quantizers/sites.ts";
import { labelsInput } from "../../src/training/loss.ts";
import { buildPlannedStep, learningRateInput, qparamLearningRateInput } from "../../src/training/planned-step.ts";
import { expectClose } from "../support/close.ts";
import { describeWithData, readTensors } from "../support/frostbit-data.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import { runModel } from "../support/run-model.ts";

const engines: readonly Engine[] = [createReferenceEngine(), createOnnxRuntimeEngine()];

const files: Readonly<Record<string, string>> = {
  "mnist-8": "mnist/mnist-8.onnx",
  resnet20: "resnet_cifar10/resnet20.onnx",
  resnet56: "resnet_cifar10/resnet56.onnx",
  squeezenet: "onnx/squeezenet_cifar10.onnx",
  "super-resolution": "onnx/super_resolution.onnx",
  yunet: "onnx/yunet_n_320_320.onnx",
  "RFB-320": "onnx/version-RFB-320.onnx",
  magika: "onnx/magika_standard_v3_3.onnx",
};

const widen = { factor: 10, because: "other orders of summation, layer after layer" };

/** Token ids where the model reads integers. */
function samples(graph: Graph, count: number): ReadonlyMap<string, Tensor> {
  const random = createRandom(11);
  return new Map(
    graph.inputs.map((name) => {
      const type = graph.values.get(name);
      assert(type, `input "${name}" has no type`);
      const shape = type.shape.map((size) => (typeof size === "number" ? size : count));
      const isToken = type.dtype === "int32";
      return [name, isToken ? random.integerTensor("int32", shape, 0, 257) : random.tensor(type.dtype, shape)];
    }),
  );
}

async function quantizedFor(graph: Graph): Promise<Graph> {
  const sites = findSites(graph, quantizeOptions.parse({ placement: "inputs" }));
  const qparams = await calibrate(
    graph,
    sites,
    async function* () {
      yield samples(graph, 4);
    },
    { observer: "min-max", calibrationSamples: 4 },
    { engine: createReferenceEngine(), seed: 0 },
  );
  return insertQuantizers(graph, sites, qparams);
}

describeWithData("real models", (folder) => {
  describe.each(Object.entries(files))("%s", (_, path) => {
    test.each(engines)("on the $name engine gives what ONNX Runtime gives", async (engine) => {
      const file = join(folder, path);
      const { graph } = readModel(file);
      const inputs = samples(graph, 1);
      const expected = await runModel(readFileSync(file), inputs);
      const actual = await runGraph(engine, graph, inputs);
      expect([...actual.keys()].sort()).toEqual([...expected.keys()].sort());
      for (const [name, value] of expected)
        expectClose(actual.get(name) ?? [], value, {
          what: name,
          widen,
        });
    });
  });

  test.each(engines)("resnet20 on the $name engine gives the logits that PyTorch gave", async (engine) => {
    const { graph } = readModel(join(folder, files["resnet20"]));
    const oracle = readTensors(folder, "resnet_cifar10", "resnet20_reference_logits64.safetensors");
    const [images, logits] = ["input", "logits"].map((name) => oracle.get(name));
    assert(images && logits, "the oracle lacks its input or its logits");
    const actual = await runGraph(engine, graph, new Map([[graph.inputs[0], images]]));
    expectClose(actual.get(graph.outputs[0]) ?? [], logits, { what: "logits", widen });
  });
});

describeWithData("training steps of real classifiers", (folder) => {
  test.each(["mnist-8", "resnet20", "squeezenet", "magika"])("%s: both engines' losses agree", async (name) => {
    const { graph } = readModel(join(folder, files[name]));
    const model = await quantizedFor(freeBatch(graph).graph);
    const step = buildPlannedStep(model, {
      batchSize: 2,
      loss: "cross-entropy",
      optimizer: { kind: "sgd", momentum: 0.9, weightDecay: 0 },
      plan: new Map(),
    });
    const inputs = new Map([
      ...samples(model, 2),
      [labelsInput, tensorOf("int64", [2], [1, 3])] as const,
      [learningRateInput, scalar("float32", 1e-3)] as const,
      [qparamLearningRateInput, scalar("float32", 1e-6)] as const,
    ]);
    const losses: number[][] = [];
    for (const engine of engines) {
      const executable = await engine.compile(step.graph, { threads: 1 });
      const program = executable.bind(await engine.variables(step.initial));
      const run = async (): Promise<number> =>
        toNumbers((await program.run(inputs)).get(step.loss) ?? scalar("float32", Number.NaN))[0];
      losses.push([await run(), await run()]);
      await executable.dispose();
    }
    expect(Math.abs(losses[1][0] / losses[0][0] - 1)).toBeLessThan(1e-3);
    for (const [first, second] of losses) expect(second).toBeLessThan(first);
  });
});
