// The whole training step in float64 against three steps that PyTorch's autograd took.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { calibrate } from "../../src/calibration/calibrate.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { castFloats } from "../../src/passes/cast-floats.ts";
import { removeDeadNodes } from "../../src/passes/remove-dead-nodes.ts";
import { insertQuantizers } from "../../src/quantizers/insert.ts";
import { quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import { findSites } from "../../src/quantizers/sites.ts";
import { labelsInput } from "../../src/training/loss.ts";
import { buildPlannedStep, learningRateInput, qparamLearningRateInput } from "../../src/training/planned-step.ts";
import { expectClose } from "../support/close.ts";
import { describeWithData, readBytes, readTensors } from "../support/frostbit-data.ts";

const batch = 16;
const engine = createReferenceEngine();
const context = { engine, seed: 0 };
const mean = [0.485, 0.456, 0.406];
const std = [0.229, 0.224, 0.225];

interface Records {
  readonly images: Float64Array;
  readonly labels: readonly number[];
}

/** The first `count` records, normalized in float64. */
function readRecords(folder: string, count: number): Records {
  const bytes = readBytes(folder, "cifar10", "train_1.bin");
  const images = new Float64Array(count * 3072);
  const labels = Array.from({ length: count }, (_, record) => bytes[record * 3073]);
  for (let record = 0; record < count; record++)
    for (let i = 0; i < 3072; i++) {
      const channel = Math.floor(i / 1024);
      images[record * 3072 + i] = (bytes[record * 3073 + 1 + i] / 255 - mean[channel]) / std[channel];
    }
  return { images, labels };
}

const imagesOf = (records: Records, start: number, count: number): Tensor =>
  tensorOf("float64", [count, 3, 32, 32], records.images.subarray(start * 3072, (start + count) * 3072));

async function runOnce(graph: Graph, inputs: ReadonlyMap<string, Tensor>): Promise<ReadonlyMap<string, Tensor>> {
  const executable = await engine.compile(graph);
  return executable.bind(await engine.variables(new Map())).run(inputs);
}

interface Expected {
  readonly losses: readonly number[];
  readonly gradient_norms: Readonly<Record<string, number>>;
  readonly layers: Readonly<Record<string, { scale: number; zero_point: number }>>;
}

describeWithData("three QAT steps in float64", (folder) => {
  test.each([
    ["w8a8", 8, 8],
    ["w4a8", 4, 8],
    ["w4a4", 4, 4],
  ])("%s agree with PyTorch's", async (name, weights, activations) => {
    const expected = JSON.parse(
      readFileSync(join(folder, "reference_step", `step_${name}.f64.json`), "utf8"),
    ) as Expected;
    const oracle = readTensors(folder, "reference_step", `step_${name}.f64.safetensors`);
    const { graph: float } = readOnnx(readBytes(folder, "resnet_cifar10", "resnet20.onnx"), { name: "resnet20.onnx" });
    const model = castFloats(float, "float64");
    const records = readRecords(folder, 64);
    const sites = findSites(model, quantizeOptions.parse({ placement: "inputs", weights, activations }));
    const qparams = await calibrate(
      model,
      sites,
      async function* () {
        yield new Map([["input", imagesOf(records, 0, 64)]]);
      },
      { observer: "min-max", calibrationSamples: 64 },
      context,
    );
    for (const [layer, { scale, zero_point }] of Object.entries(expected.layers)) {
      expectClose(qparams.get(`${layer}.input`)?.scale.data as Float64Array, [scale], { what: `${layer} scale` });
      expect(Number(qparams.get(`${layer}.input`)?.zeroPoint.data[0])).toBe(zero_point + 0);
    }
    const quantized = insertQuantizers(model, sites, qparams);
    const first = new Map([["input", imagesOf(records, 0, batch)]]);
    expectOracle((await runOnce(quantized, first)).get("logits"), oracle.get("logits_eval"), "logits_eval");

    const optimizer = { kind: "sgd", momentum: 0.9, weightDecay: 1e-4 } as const;
    const step = buildPlannedStep(quantized, { batchSize: batch, loss: "cross-entropy", optimizer, plan: new Map() });
    const gradients = gradientsOf(step.graph);
    const variables = await engine.variables(step.initial);
    const program = (
      await engine.compile(removeDeadNodes({ ...step.graph, outputs: [step.loss, ...gradients.values()] }))
    ).bind(variables);
    for (let index = 0; index < 3; index++) {
      const inputs = new Map([
        ["input", imagesOf(records, index * batch, batch)],
        [labelsInput, tensorOf("int64", [batch], records.labels.slice(index * batch, (index + 1) * batch))],
        [learningRateInput, scalar("float64", 1e-3)],
        [qparamLearningRateInput, scalar("float64", 1e-6)],
      ]);
      const outputs = await program.run(inputs);
      expectOracle(outputs.get(step.loss), tensorOf("float64", [], [expected.losses[index]]), `loss ${index}`);
      if (index === 0)
        for (const [parameter, gradient] of gradients) {
          const tensor = outputs.get(gradient);
          if (oracle.has(`grad.${parameter}`))
            expectOracle(tensor, oracle.get(`grad.${parameter}`), `grad.${parameter}`);
          const norm = Math.hypot(...(tensor ? toNumbers(tensor) : []));
          if (parameter in expected.gradient_norms)
            expectOracle(
              tensorOf("float64", [], [norm]),
              tensorOf("float64", [], [expected.gradient_norms[parameter]]),
              `norm of ${parameter}`,
            );
        }
    }
    const after = [...oracle.keys()].filter((key) => key.startsWith("after."));
    expect(after.length).toBe(9);
    const trained = new Map(quantized.constants);
    for (const variable of variables.names())
      if (trained.has(variable)) trained.set(variable, await variables.read(variable));
    for (const key of after) expectOracle(trained.get(key.slice("after.".length)), oracle.get(key), key);
    expectOracle(
      (await runOnce({ ...quantized, constants: trained }, first)).get("logits"),
      oracle.get("logits_eval_after"),
      "logits_eval_after",
    );
  });
});

/** The gradient that each update node reads, by parameter. */
const gradientsOf = (graph: Graph): Map<string, string> =>
  new Map(
    graph.nodes
      .filter(({ op }) => op === "SgdUpdate" || op === "AdamUpdate")
      .map(({ inputs }) => [inputs[0], inputs[1]]),
  );

function expectOracle(actual: Tensor | undefined, expected: Tensor | undefined, what: string): void {
  expect(actual, what).toBeDefined();
  expect(expected, what).toBeDefined();
  if (actual && expected)
    expectClose(actual.data as Float64Array, expected.data as Float64Array, {
      as: "float64",
      what,
      widen: { factor: 100, because: "other orders of summation through 20 layers; 1e-9 is the oracle's claim" },
    });
}
