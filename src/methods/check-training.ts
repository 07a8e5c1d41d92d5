// What can be known to be wrong with training before anything is computed.
import { type Dataset, noLabels } from "../data/dataset.ts";
import { type LabelUse, labelUse } from "../evaluate/label-use.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { type ClassPlace, fitLabels, floatOutputs, scoresWithoutLabels } from "../passes/class-scores.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import { noScores } from "../training/loss.ts";
import type { TrainingOptions } from "../training/options.ts";
import type { MethodModel } from "./method.ts";

/** Throws BAD_DATA, BAD_MODEL or BAD_OPTION where model and data cannot train as the options say. */
export function checkTraining(
  { graph, outputs }: Pick<MethodModel, "graph" | "outputs">,
  train: Dataset,
  options: TrainingOptions,
): void {
  const attended = selectOutputs(graph, outputs);
  if (options.loss === "mse") checkTarget(attended, train, options);
  else classesThatTrain(attended, train, options.loss);
  stepsPerEpoch(options, train);
}

/** Where the class scores lie that a loss is of. Throws BAD_DATA or BAD_MODEL where there are none. */
export function classesThatTrain(graph: Graph, train: Dataset, loss: "cross-entropy" | "distill"): ClassPlace {
  const use = labelUse(graph, train);
  if (use.kind === "classes") return use.place;
  if (loss === "cross-entropy") throw withoutClasses(train, use);
  const scores = use.kind === "none" ? scoresWithoutLabels(graph) : undefined;
  if (!scores) throw noScores(graph);
  return scores;
}

function withoutClasses(dataset: Dataset, use: Exclude<LabelUse, { kind: "classes" }>): FrostbitError {
  const { name } = dataset;
  if (use.kind === "none" && !use.areGiven)
    return noLabels(
      dataset,
      "cross-entropy cannot be its loss. Follow the float model with --loss distill, or with --loss mse where the outputs are not class scores.",
    );
  const fault =
    use.kind === "none"
      ? `cannot be used: ${use.reason} Or follow the float model, without labels: --loss distill, or --loss mse where the output is no class scores.`
      : "are what the output should be. Train towards them with --loss mse, or save class indices as whole numbers.";
  return new FrostbitError("BAD_DATA", `The cross-entropy loss needs class indices; the labels of "${name}" ${fault}`);
}

/** Whether the labels are what the output should be, which the loss "mse" then trains towards. */
export function isTargetFor(graph: Graph, train: Dataset): boolean {
  const [output] = floatOutputs(graph);
  const shape = graph.values.get(output)?.shape ?? [];
  if (train.target && fitLabels(shape, train.target.shape) === "elements") return true;
  return labelUse({ ...graph, outputs: [output] }, train).kind === "values";
}

function checkTarget(graph: Graph, train: Dataset, { augment }: TrainingOptions): void {
  const [output] = floatOutputs(graph);
  if (output === undefined)
    throw new FrostbitError(
      "BAD_MODEL",
      `loss is mse, but no output of the model is a float: ${graph.outputs.join(", ")}.`,
    );
  const { name, target } = train;
  if (!isTargetFor(graph, train)) {
    if (!target || labelUse(graph, train).kind === "classes") return;
    const shape = graph.values.get(output)?.shape ?? [];
    throw new FrostbitError(
      "BAD_DATA",
      `Output "${output}" is [${shape.join(", ")}]; the labels of "${name}" are [${["samples", ...target.shape].join(", ")}]. Name the output they belong to with --outputs, or give no labels, so that --loss mse follows the float model.`,
    );
  }
  if (augment.length > 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `augment is ${augment.join(",")}, which changes images but not the labels of "${name}", tensors that the output should be. Leave --augment out.`,
    );
}

/** Of the whole training. */
export const stepsOf = (options: TrainingOptions, dataset: Dataset): number =>
  options.steps ?? Math.max(1, Math.round(options.epochs * stepsPerEpoch(options, dataset)));

/** Throws BAD_OPTION where there is not one. */
export function stepsPerEpoch({ batch }: TrainingOptions, dataset: Dataset): number {
  const steps = Math.floor(dataset.length / batch);
  if (steps > 0) return steps;
  throw new FrostbitError(
    "BAD_OPTION",
    `batch is ${batch}, but the training data has ${dataset.length} samples. Choose a smaller --batch.`,
  );
}
