// What can be known to be wrong with training before anything is computed.
import { type Dataset, noLabels } from "../data/dataset.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { floatOutputs, logitsOf } from "../passes/class-scores.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import type { TrainingOptions } from "../training/options.ts";
import type { MethodModel } from "./method.ts";

/** Throws BAD_DATA, BAD_MODEL or BAD_OPTION where model and data cannot train as the options say. */
export function checkTraining(
  { graph, outputs }: Pick<MethodModel, "graph" | "outputs">,
  train: Dataset,
  options: TrainingOptions,
): void {
  const attended = selectOutputs(graph, outputs);
  if (options.loss === "cross-entropy" && !train.hasLabels) throw withoutClasses(train);
  if (options.loss === "mse") checkTarget(attended, train, options);
  else logitsOf(attended);
  stepsPerEpoch(options, train);
}

function withoutClasses(dataset: Dataset): FrostbitError {
  const { name, target } = dataset;
  if (!target)
    return noLabels(
      dataset,
      "cross-entropy cannot be its loss. Follow the float model with --loss distill, or with --loss mse where the outputs are not class scores.",
    );
  return new FrostbitError(
    "BAD_DATA",
    `The labels of "${name}" are ${target.dtype}; the cross-entropy loss needs class indices. Save them as whole numbers, or use --loss mse if they are what the output should be.`,
  );
}

function checkTarget(graph: Graph, { name, target }: Dataset, { augment }: TrainingOptions): void {
  const [output] = floatOutputs(graph);
  if (output === undefined)
    throw new FrostbitError(
      "BAD_MODEL",
      `loss is mse, but no output of the model is a float: ${graph.outputs.join(", ")}.`,
    );
  if (!target) return;
  const shape = graph.values.get(output)?.shape ?? [];
  const fits = shape.length === target.shape.length + 1 && target.shape.every((size, i) => size === shape[i + 1]);
  if (!fits)
    throw new FrostbitError(
      "BAD_DATA",
      `Output "${output}" is [${shape.join(", ")}]; the labels of "${name}" are [samples, ${target.shape.join(", ")}]. Name the output they belong to with --outputs, or give no labels, so that --loss mse follows the float model.`,
    );
  if (augment.length > 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `augment is ${augment.join(",")}, which changes images but not the labels of "${name}", tensors that the output should be. Leave --augment out.`,
    );
}

/** Throws BAD_OPTION where there is not one. */
export function stepsPerEpoch({ batch }: TrainingOptions, dataset: Dataset): number {
  const steps = Math.floor(dataset.length / batch);
  if (steps > 0) return steps;
  throw new FrostbitError(
    "BAD_OPTION",
    `batch is ${batch}, but the training data has ${dataset.length} samples. Choose a smaller --batch.`,
  );
}
