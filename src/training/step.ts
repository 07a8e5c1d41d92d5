// Builds the training step: forward, loss, backward of what is wanted and the optimizer's updates, as one graph.
import { appendGradients } from "../autodiff/gradient.ts";
import type { Builder } from "../ir/builder.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import type { Rows } from "../ops/definition.ts";
import { buildOn } from "../ops/infer.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { runningStatistics, trainBatchNorm } from "../passes/train-batch-norm.ts";
import { quantizersOf } from "../quantizers/quantizer.ts";
import { addCrossEntropy, addDistillation, type LossName, logitsOf } from "./loss.ts";
import { addUpdate, type Optimizer, optimizerState } from "./optimizer.ts";
import { type Parameter, parametersOf } from "./parameters.ts";
import { addLogarithmicUpdate, type QparamTraining } from "./qparam-training.ts";

/** What trains of each weight, by its name: all of it, nothing, or rows chosen at each run. Weights left out train whole. */
export type PlanShape = ReadonlyMap<string, "all" | "none" | "rows">;

export interface StepOptions {
  readonly batchSize: number;
  readonly loss: LossName;
  /** For weights, biases and norms. */
  readonly optimizer: Optimizer;
  /** Absent: direct. */
  readonly qparamTraining?: QparamTraining;
  /** The float model, for `distill`. */
  readonly teacher?: Graph;
  readonly plan: PlanShape;
}

export interface Step {
  /** Outputs: the loss alone. Inputs: the model's, labels, learning rates and rows. */
  readonly graph: Graph;
  readonly loss: string;
  /** Values of the variables at the start, optimizer state included. */
  readonly initial: ReadonlyMap<string, Tensor>;
  /** For each weight that trains by rows, the input that holds the rows' indices. */
  readonly rowInputs: ReadonlyMap<string, string>;
}

export const learningRateInput = "frostbit/learning_rate";
export const qparamLearningRateInput = "frostbit/qparam_learning_rate";
/** Scales are kept at or above this share of what they started from: positive, and in the reach of integer kernels. */
export const smallestScale = 2 ** -10;

const qparamOptimizer: Optimizer = { kind: "adam", weightDecay: 0 };
const isQparam = ({ role }: Parameter): boolean => role.endsWith("scale") || role === "input-zero-point";

export function buildStep(model: Graph, options: StepOptions): Step {
  const parameters = parametersOf(model);
  const start = makeVariables(model, [...parameters.map(({ name }) => name), ...runningStatistics(model)]);
  const graph = trainBatchNorm(setBatchSize(start.graph, options.batchSize));
  const build = buildOn(graph);
  const loss = addLoss(build, graph, options);
  const rowInputs = new Map<string, string>();
  const wanted = new Map<string, "all" | Rows>();
  for (const parameter of parameters) {
    const want = wantOf(build, parameter, options.plan, rowInputs);
    if (want !== "none") wanted.set(parameter.name, want);
  }
  const gradients = appendGradients(build, build.graph([loss]).nodes, loss, wanted);
  const initial = new Map(start.initial);
  const rates = new Map<string, string>();
  for (const parameter of parameters) {
    const rows = rowsOfPlan(parameter, options.plan, rowInputs);
    for (const [name, value] of stateOf(parameter, options.optimizer, start.initial, rows)) initial.set(name, value);
    const found = gradients.get(parameter.name);
    if (found === undefined) continue;
    const optimizer = isQparam(parameter) ? qparamOptimizer : options.optimizer;
    const rate = learningRate(
      build,
      isQparam(parameter) ? qparamLearningRateInput : learningRateInput,
      parameter.name,
      rates,
    );
    const isLogarithmic = options.qparamTraining === "log2" && parameter.role.endsWith("scale");
    const update = isLogarithmic ? addLogarithmicUpdate : addUpdate;
    const next = update(build, optimizer, parameter.name, found, rate, rows);
    build.update(parameter.name, keepLegal(build, graph, parameter, start.initial, next));
  }
  return { graph: removeDeadNodes(build.graph([loss], "step")), loss, initial, rowInputs };
}

/** Turns constants into variables, and gives their values beside the graph. */
function makeVariables(graph: Graph, names: readonly string[]): { graph: Graph; initial: ReadonlyMap<string, Tensor> } {
  const constants = new Map(graph.constants);
  const initial = new Map<string, Tensor>();
  for (const name of names) {
    const value = graph.constants.get(name);
    assert(value, `parameter "${name}" has no value`);
    initial.set(name, value);
    constants.delete(name);
  }
  return { graph: { ...graph, constants, variables: [...graph.variables, ...initial.keys()] }, initial };
}

function addLoss(build: Builder, graph: Graph, options: StepOptions): string {
  const logits = logitsOf(graph);
  if (options.loss === "cross-entropy") return addCrossEntropy(build, logits);
  if (!options.teacher) throw new FrostbitError("BAD_OPTION", 'loss "distill" needs the float model as teacher.');
  return addDistillation(build, logits, setBatchSize(options.teacher, options.batchSize));
}

/** Weights and their scales follow the plan; everything else always trains. */
function wantOf(
  build: Builder,
  parameter: Parameter,
  plan: PlanShape,
  rowInputs: Map<string, string>,
): "all" | "none" | Rows {
  if (!parameter.layer) return "all";
  const { weight, rowAxis } = parameter.layer;
  const planned = plan.get(weight) ?? "all";
  if (planned !== "rows") return planned;
  const known = rowInputs.get(weight);
  const rows = known ?? build.input(`frostbit/rows:${weight}`, { dtype: "int64", shape: [`rows:${weight}`] });
  rowInputs.set(weight, rows);
  return { rows, axis: rowAxis };
}

function rowsOfPlan({ layer }: Parameter, plan: PlanShape, rowInputs: ReadonlyMap<string, string>): Rows | undefined {
  const rows = layer && plan.get(layer.weight) === "rows" ? rowInputs.get(layer.weight) : undefined;
  return layer && rows !== undefined ? { rows, axis: layer.rowAxis } : undefined;
}

function stateOf(
  parameter: Parameter,
  optimizer: Optimizer,
  initial: ReadonlyMap<string, Tensor>,
  rows: Rows | undefined,
): ReadonlyMap<string, Tensor> {
  const value = initial.get(parameter.name);
  assert(value, `parameter "${parameter.name}" has no value`);
  return optimizerState(
    isQparam(parameter) ? qparamOptimizer : optimizer,
    parameter.name,
    value.dtype,
    value.shape,
    rows,
  );
}

function learningRate(build: Builder, input: string, like: string, rates: Map<string, string>): string {
  const name = rates.get(input) ?? build.input(input, { dtype: build.type(like).dtype, shape: [] });
  rates.set(input, name);
  return name;
}

/** Scales stay positive; zero points stay where they round to one of the quantizer's integers. */
function keepLegal(
  build: Builder,
  graph: Graph,
  { name, role }: Parameter,
  initial: ReadonlyMap<string, Tensor>,
  next: string,
): string {
  if (role.endsWith("scale"))
    return build.node("Max", [next, build.constant(smallestOf(initial.get(name)), `${name}/smallest`)]);
  if (role !== "input-zero-point") return next;
  const bounds =
    quantizersOf(graph)
      .find(({ zeroPoint }) => zeroPoint === name)
      ?.node.inputs.slice(3) ?? [];
  const [low, high] = bounds.map((bound) => graph.constants.get(bound));
  assert(low && high, `the bounds of zero point "${name}" are no constants`);
  return build.node("Clip", [
    next,
    build.scalar(numbersOf(low)[0] - 0.49, next),
    build.scalar(numbersOf(high)[0] + 0.49, next),
  ]);
}

function smallestOf(scale: Tensor | undefined): Tensor {
  assert(scale, "a scale has no value at the start");
  return tensorOf(
    scale.dtype,
    scale.shape,
    Array.from(numbersOf(scale), (value) => value * smallestScale),
  );
}
