// A training step of a model on random data, ready to run: what the step benches time.
import { calibrate } from "../../src/calibration/calibrate.ts";
import type { Engine, Program } from "../../src/engines/engine.ts";
import type { OnnxModel } from "../../src/ir/graph.ts";
import { scalar, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { efqat } from "../../src/methods/efqat/efqat.ts";
import { efqatOptions } from "../../src/methods/efqat/options.ts";
import { insertQuantizers } from "../../src/quantizers/insert.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import { quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import { findSites } from "../../src/quantizers/sites.ts";
import { type FreezingPlan, shapeOfPlan } from "../../src/training/freezing-plan.ts";
import { labelsInput } from "../../src/training/loss.ts";
import { buildStep, learningRateInput, qparamLearningRateInput } from "../../src/training/step.ts";

export interface StepOfModel {
  readonly run: () => Promise<void>;
  readonly compileMs: number;
  readonly dispose: () => Promise<void>;
}

export interface Variant {
  /** "qat", or EfQAT's mode and update ratio. */
  readonly mode: "qat" | "cwpl" | "cwpn" | "lwpn";
  readonly updateRatio: number;
}

/** ResNet-20's input, random and seeded. */
export function randomBatch(batch: number): { images: Tensor; labels: Tensor } {
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  return {
    images: tensorOf(
      "float32",
      [batch, 3, 32, 32],
      Float32Array.from({ length: batch * 3072 }, () => 4 * next()),
    ),
    labels: tensorOf(
      "int64",
      [batch],
      Array.from({ length: batch }, (_, i) => i % 10),
    ),
  };
}

export async function stepOf(
  { graph }: OnnxModel,
  engine: Engine,
  variant: Variant,
  { batch, threads, weights, activations }: { batch: number; threads: number; weights: number; activations: number },
): Promise<StepOfModel> {
  const { images, labels } = randomBatch(batch);
  const sites = findSites(graph, quantizeOptions.parse({ weights, activations }));
  const input = graph.inputs[0];
  async function* batches(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
    yield new Map([[input, images]]);
  }
  const context = { engine, seed: 0, threads };
  const qparams = await calibrate(graph, sites, batches, { observer: "min-max", calibrationSamples: batch }, context);
  const model = insertQuantizers(graph, sites, qparams);
  const layers = linearLayers(model);
  const start = new Map(
    layers.flatMap(({ weight }) => {
      const value = model.constants.get(weight);
      return value ? [[weight, value] as const] : [];
    }),
  );
  const plan: FreezingPlan =
    variant.mode === "qat"
      ? new Map(layers.map(({ weight }) => [weight, "all"]))
      : efqat(model, {
          ...efqatOptions.parse({ mode: variant.mode, updateRatio: variant.updateRatio }),
          seed: 0,
        }).select(start, 0);
  const optimizer = { kind: "sgd", momentum: 0.9, weightDecay: 1e-4 } as const;
  const before = performance.now();
  const step = buildStep(model, { batchSize: batch, loss: "cross-entropy", optimizer, plan: shapeOfPlan(plan) });
  const executable = await engine.compile(step.graph, { threads });
  const compileMs = performance.now() - before;
  const variables = await engine.variables(step.initial);
  const program: Program = executable.bind(variables);
  const inputs = new Map<string, Tensor>([
    [input, images],
    [labelsInput, labels],
    [learningRateInput, scalar("float32", 1e-3)],
    [qparamLearningRateInput, scalar("float32", 1e-6)],
  ]);
  for (const [weight, name] of step.rowInputs) {
    const rows = plan.get(weight);
    const list = rows instanceof Int32Array ? rows : new Int32Array();
    inputs.set(name, { dtype: "int64", shape: [list.length], data: BigInt64Array.from(list, BigInt) });
  }
  return {
    run: async () => {
      await program.run(inputs, { fetch: [step.loss] });
    },
    compileMs,
    dispose: async () => {
      await executable.dispose();
      variables.dispose();
    },
  };
}
