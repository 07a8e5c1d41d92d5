// A training step of a tiny model.
import { scalar, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import { labelsInput } from "../../src/training/loss.ts";
import { buildPlannedStep, learningRateInput, qparamLearningRateInput } from "../../src/training/planned-step.ts";
import type { Step } from "../../src/training/step.ts";
import { quantized } from "../models/quantized.ts";
import { batchFor, type TinyModel } from "../models/tiny-models.ts";

const optimizer = { kind: "sgd", momentum: 0.9, weightDecay: 1e-4 } as const;

/** A step of which every weight trains by rows, and its inputs with every third row. */
export async function rowStep(
  model: TinyModel,
  batchSize = 7,
): Promise<{ step: Step; inputs: ReadonlyMap<string, Tensor>; axes: ReadonlyMap<string, number> }> {
  const graph = await quantized(model, "float32", { weights: 4, activations: 8 });
  const layers = linearLayers(graph);
  const plan = new Map(layers.map(({ weight }) => [weight, "rows"] as const));
  const step = buildPlannedStep(graph, { batchSize, loss: "cross-entropy", optimizer, plan });
  const { images, labels } = batchFor(model, "float32", batchSize);
  const inputs = new Map([
    ["input", images],
    [labelsInput, labels],
    [learningRateInput, scalar("float32", 0.02)],
    [qparamLearningRateInput, scalar("float32", 1e-4)],
  ]);
  for (const { weight, rowAxis } of layers) {
    const count = graph.constants.get(weight)?.shape[rowAxis] ?? 0;
    const rows = Array.from({ length: count }, (_, row) => row).filter((row) => row % 3 === 1);
    const input = step.rowInputs.get(weight);
    if (input !== undefined) inputs.set(input, tensorOf("int64", [rows.length], rows));
  }
  return { step, inputs, axes: new Map(layers.map(({ weight, rowAxis }) => [weight, rowAxis])) };
}
