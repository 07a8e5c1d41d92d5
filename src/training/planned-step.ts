// The training step of a whole model by a plan of rows: what trains of each weight, and everything else.
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { ClassPlace } from "../passes/class-scores.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { runningStatistics, trainBatchNorm, trainBatchNormOfPart } from "../passes/train-batch-norm.ts";
import { withLength } from "../passes/with-length.ts";
import { clipActivations, levelRule } from "./clipping-levels.ts";
import { addLoss, type LossName } from "./loss.ts";
import { makeVariables } from "./make-variables.ts";
import type { Optimizer } from "./optimizer.ts";
import { type Parameter, parametersOf } from "./parameters.ts";
import { directQparams, isQparam, type QparamOptions, trainsQparam } from "./qparam-training.ts";
import { buildStep, type Step, type TrainedParameter } from "./step.ts";
import { optimizerRule, qparamRule } from "./update-rules.ts";

/** What trains of each weight or table, by its name: all of it, nothing, or rows chosen at each run. What is left out trains whole. */
export type PlanShape = ReadonlyMap<string, "all" | "none" | "rows">;

export interface PlannedStepOptions {
  /** Samples of a run: the batch, or a micro-batch. */
  readonly batchSize: number;
  /** Of all samples, along their first axis; absent: that of the model's inputs. */
  readonly length?: number | undefined;
  readonly loss: LossName;
  /** Where the class scores lie; absent: where they are likely to. */
  readonly classes?: ClassPlace | undefined;
  /** For weights, biases and norms. */
  readonly optimizer: Optimizer;
  /** Absent: as EfQAT trains them. */
  readonly qparams?: QparamOptions;
  /** The float model, for "distill", and for "mse" without targets. */
  readonly teacher?: Graph;
  readonly plan: PlanShape;
  /** The largest norm of all gradients together but those of qparams; absent: any. */
  readonly clipNorm?: number | undefined;
  /** Micro-batches whose gradients are added up before a step by their mean; absent: 1. */
  readonly microBatches?: number;
  /** Whether batch normalization uses its running statistics and leaves them as they are. */
  readonly freezesStatistics?: boolean;
}

export const learningRateInput = "frostbit/learning_rate";
export const qparamLearningRateInput = "frostbit/qparam_learning_rate";

export function buildPlannedStep(model: Graph, options: PlannedStepOptions): Step {
  const { qparams = directQparams, microBatches = 1 } = options;
  const parameters = parametersOf(model);
  const start = makeVariables(model, [...parameters.map(({ name }) => name), ...runningStatistics(model)]);
  const sized = sizedFor(start.graph, options);
  const normalized = normalizedBy(sized, options);
  const { graph, levels } =
    qparams.training === "pact"
      ? clipActivations(normalized.graph, start.initial)
      : { graph: normalized.graph, levels: [] };
  const teacher = options.teacher && sizedFor(options.teacher, options);
  const ofModel = parameters
    .filter((parameter) => !isQparam(parameter) || trainsQparam(qparams.training, parameter))
    .map((parameter) => plannedParameter(parameter, start.initial, qparams, options));
  const ofLevels = levels.map(
    (level): TrainedParameter => ({
      name: level.name,
      rule: levelRule(level, qparams.optimizer),
      learningRate: qparamLearningRateInput,
      trains: "all",
      isClipped: false,
    }),
  );
  return buildStep({
    forward: graph,
    start: new Map([...start.initial, ...levels.map((level) => [level.name, level.start] as const)]),
    loss: (build, forward) =>
      addLoss(build, forward, { loss: options.loss, classes: options.classes, ...(teacher && { teacher }) }),
    parameters: [...ofModel, ...ofLevels],
    clipNorm: options.clipNorm,
    microBatches,
    statistics: normalized.statistics,
  });
}

const sizedFor = (graph: Graph, { batchSize, length }: PlannedStepOptions): Graph =>
  setBatchSize(length === undefined ? graph : withLength(graph, length), batchSize);

function normalizedBy(
  graph: Graph,
  { freezesStatistics, microBatches = 1 }: PlannedStepOptions,
): ReturnType<typeof trainBatchNormOfPart> {
  if (freezesStatistics) return { graph, statistics: [] };
  return microBatches === 1 ? { graph: trainBatchNorm(graph), statistics: [] } : trainBatchNormOfPart(graph);
}

function plannedParameter(
  parameter: Parameter,
  values: ReadonlyMap<string, Tensor>,
  qparams: QparamOptions,
  options: PlannedStepOptions,
): TrainedParameter {
  const { name } = parameter;
  const value = values.get(name);
  assert(value, `parameter "${name}" has no value`);
  const trains = plannedOf(parameter, options);
  return isQparam(parameter)
    ? {
        name,
        rule: qparamRule(qparams, parameter, value),
        learningRate: qparamLearningRateInput,
        trains,
        isClipped: false,
      }
    : { name, rule: optimizerRule(options.optimizer), learningRate: learningRateInput, trains, isClipped: true };
}

/** Weights, their scales and tables follow the plan; everything else trains whole. */
function plannedOf({ name, role, layer }: Parameter, { plan }: PlannedStepOptions): TrainedParameter["trains"] {
  const planned = layer || role === "table" ? (plan.get(layer?.weight ?? name) ?? "all") : "all";
  if (planned !== "rows") return planned;
  return layer ? { weight: layer.weight, axis: layer.rowAxis } : "none";
}
