// Builds the training step: forward, loss, backward of what is wanted and the optimizer's updates, as one graph, or two where
// the gradients of several parts of a batch are added up first.
import { appendGradients } from "../autodiff/gradient.ts";
import type { Builder } from "../ir/builder.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import type { Rows } from "../ops/definition.ts";
import { buildOn } from "../ops/infer.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { runningStatistics, trainBatchNorm } from "../passes/train-batch-norm.ts";
import { quantizersOf } from "../quantizers/quantizer.ts";
import { accumulate, accumulators, takeAccumulated } from "./accumulation.ts";
import { clipByNorm } from "./clip-by-norm.ts";
import { addLevelUpdate, type ClippingLevel, clipActivations, levelVariables } from "./clipping-levels.ts";
import { addLoss, type LossName } from "./loss.ts";
import { addUpdate, type Optimizer, optimizerState } from "./optimizer.ts";
import { type Parameter, parametersOf } from "./parameters.ts";
import {
  addQparamUpdate,
  directQparams,
  isQparam,
  type QparamOptions,
  qparamVariables,
  trainsQparam,
} from "./qparam-training.ts";
import { keepAboveSmallest } from "./smallest-scale.ts";

/** What trains of each weight or table, by its name: all of it, nothing, or rows chosen at each run. What is left out trains whole. */
export type PlanShape = ReadonlyMap<string, "all" | "none" | "rows">;

export interface StepOptions {
  /** Samples of a run: the batch, or one of its `parts`. */
  readonly batchSize: number;
  readonly loss: LossName;
  /** For weights, biases and norms. */
  readonly optimizer: Optimizer;
  /** Absent: as EfQAT trains them. */
  readonly qparams?: QparamOptions;
  /** The float model, for "distill", and for "mse" without targets. */
  readonly teacher?: Graph;
  readonly plan: PlanShape;
  /** The most that the norm of all gradients but those of qparams may be; absent: anything. */
  readonly clipNorm?: number | undefined;
  /** Parts of a batch whose gradients are added up before `apply` steps by their mean; absent: 1. */
  readonly parts?: number;
  /** Whether batch normalization uses its running statistics and leaves them as they are. */
  readonly freezesStatistics?: boolean;
}

export interface Step {
  /** Outputs: the loss alone. Inputs: the model's, labels, and those of `apply` where there is none. */
  readonly graph: Graph;
  /** With `parts`: steps by the gradients added up, and starts them from 0. Inputs: learning rates and rows. */
  readonly apply?: Graph;
  readonly loss: string;
  /** Values of the variables at the start, optimizer state included. */
  readonly initial: ReadonlyMap<string, Tensor>;
  /** For each weight that trains by rows, the input that holds the rows' indices. */
  readonly rowInputs: ReadonlyMap<string, string>;
}

export const learningRateInput = "frostbit/learning_rate";
export const qparamLearningRateInput = "frostbit/qparam_learning_rate";

/** What both graphs of a step are made from. */
interface Prepared {
  readonly graph: Graph;
  readonly parameters: readonly Parameter[];
  readonly levels: readonly ClippingLevel[];
  /** Of the parameters and running statistics. */
  readonly start: ReadonlyMap<string, Tensor>;
  readonly options: StepOptions;
  readonly qparams: QparamOptions;
}

/** By parameter or clipping level. */
type Gradients = ReadonlyMap<string, string>;

export function buildStep(model: Graph, options: StepOptions): Step {
  const prepared = prepare(model, options);
  const { parts = 1 } = options;
  const build = buildOn(prepared.graph);
  const teacher = options.teacher && setBatchSize(options.teacher, options.batchSize);
  const loss = addLoss(build, prepared.graph, { loss: options.loss, ...(teacher && { teacher }) });
  const rowInputs = addRowInputs(build, prepared);
  const wanted = wantedGradients(prepared, rowInputs);
  const gradients = appendGradients(build, build.graph([loss]).nodes, loss, wanted);
  const initial = initialVariables(prepared);
  if (parts === 1) {
    addUpdates(build, prepared, gradients, wanted);
    return { graph: removeDeadNodes(build.graph([loss], "step")), loss, initial, rowInputs };
  }
  const sums = accumulators([...parametersThatTrain(prepared), ...prepared.levels], initial);
  for (const [name, gradient] of gradients) accumulate(build, name, gradient, rowsOf(wanted, name), sums);
  return {
    graph: removeDeadNodes(build.graph([loss], "part of a step")),
    apply: buildApply(prepared, new Map([...wanted].filter(([name]) => gradients.has(name))), sums, parts),
    loss,
    initial: new Map([...initial, ...sums]),
    rowInputs,
  };
}

/** Without the model's inputs, its nodes are dead. */
function buildApply(
  prepared: Prepared,
  wanted: ReadonlyMap<string, "all" | Rows>,
  sums: ReadonlyMap<string, Tensor>,
  parts: number,
): Graph {
  const build = buildOn({ ...prepared.graph, inputs: [], outputs: [], updates: new Map() });
  addRowInputs(build, prepared);
  const gradients = takeAccumulated(build, wanted, sums, parts);
  addUpdates(build, prepared, gradients, wanted);
  return removeDeadNodes(build.graph([], "apply a step"));
}

function prepare(model: Graph, options: StepOptions): Prepared {
  const parameters = parametersOf(model);
  const { qparams = directQparams } = options;
  const start = makeVariables(model, [...parameters.map(({ name }) => name), ...runningStatistics(model)]);
  const sized = setBatchSize(start.graph, options.batchSize);
  const normalized = options.freezesStatistics ? sized : trainBatchNorm(sized);
  const { graph, levels } =
    qparams.training === "pact" ? clipActivations(normalized, start.initial) : { graph: normalized, levels: [] };
  return { graph, parameters, levels, start: start.initial, options, qparams };
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

const parametersThatTrain = ({ parameters, qparams }: Prepared): readonly Parameter[] =>
  parameters.filter((parameter) => !isQparam(parameter) || trainsQparam(qparams.training, parameter));

/** What the plan says of a parameter: weights, their scales and tables follow it; everything else always trains. */
const plannedOf = ({ name, role, layer }: Parameter, { plan }: StepOptions): "all" | "none" | "rows" =>
  layer || role === "table" ? (plan.get(layer?.weight ?? name) ?? "all") : "all";

function addRowInputs(build: Builder, prepared: Prepared): ReadonlyMap<string, string> {
  const rowInputs = new Map<string, string>();
  for (const parameter of parametersThatTrain(prepared)) {
    const weight = parameter.layer?.weight;
    if (weight === undefined || rowInputs.has(weight) || plannedOf(parameter, prepared.options) !== "rows") continue;
    rowInputs.set(weight, build.input(`frostbit/rows:${weight}`, { dtype: "int64", shape: [`rows:${weight}`] }));
  }
  return rowInputs;
}

function wantedGradients(
  prepared: Prepared,
  rowInputs: ReadonlyMap<string, string>,
): ReadonlyMap<string, "all" | Rows> {
  const wanted = new Map<string, "all" | Rows>();
  for (const parameter of parametersThatTrain(prepared)) {
    const planned = plannedOf(parameter, prepared.options);
    const rows = parameter.layer && rowInputs.get(parameter.layer.weight);
    if (planned === "all") wanted.set(parameter.name, "all");
    if (planned === "rows" && parameter.layer && rows !== undefined)
      wanted.set(parameter.name, { rows, axis: parameter.layer.rowAxis });
  }
  for (const { name } of prepared.levels) wanted.set(name, "all");
  return wanted;
}

function rowsOf(wanted: ReadonlyMap<string, "all" | Rows>, name: string): Rows | undefined {
  const want = wanted.get(name);
  return want === "all" ? undefined : want;
}

/** The parameters, running statistics and optimizer states. */
function initialVariables({ parameters, levels, start, options, qparams }: Prepared): ReadonlyMap<string, Tensor> {
  const initial = new Map([...start, ...levelVariables(levels, qparams.optimizer)]);
  for (const parameter of parameters) {
    const value = start.get(parameter.name);
    assert(value, `parameter "${parameter.name}" has no value`);
    const isTrained = !isQparam(parameter) || trainsQparam(qparams.training, parameter);
    if (!isTrained) continue;
    const optimizer = isQparam(parameter) ? qparams.optimizer : options.optimizer;
    const rows = plannedOf(parameter, options) === "rows" ? parameter.layer?.rowAxis : undefined;
    for (const [name, state] of optimizerState(optimizer, parameter.name, value.dtype, value.shape, rows))
      initial.set(name, state);
    for (const [name, state] of qparamVariables(qparams, parameter, value)) initial.set(name, state);
  }
  return initial;
}

/** Binds the next value of every parameter that has a gradient. */
function addUpdates(
  build: Builder,
  prepared: Prepared,
  found: Gradients,
  wanted: ReadonlyMap<string, "all" | Rows>,
): void {
  const { parameters, levels, start, options, qparams } = prepared;
  const stepped = parameters.filter((parameter) => !isQparam(parameter)).map(({ name }) => name);
  const gradients = options.clipNorm === undefined ? found : clipByNorm(build, found, stepped, options.clipNorm);
  const rates = new Map<string, string>();
  for (const parameter of parameters) {
    const { name } = parameter;
    const gradient = gradients.get(name);
    if (gradient === undefined) continue;
    const rate = learningRate(build, isQparam(parameter) ? qparamLearningRateInput : learningRateInput, name, rates);
    const rows = rowsOf(wanted, name);
    const next = isQparam(parameter)
      ? addQparamUpdate(build, qparams, parameter, gradient, rate, rows)
      : addUpdate(build, options.optimizer, name, gradient, rate, rows);
    build.update(name, keepLegal(build, parameter, start, next));
  }
  for (const level of levels) {
    const gradient = gradients.get(level.name);
    if (gradient === undefined) continue;
    const rate = learningRate(build, qparamLearningRateInput, level.name, rates);
    addLevelUpdate(build, qparams.optimizer, level, gradient, rate);
  }
}

function learningRate(build: Builder, input: string, like: string, rates: Map<string, string>): string {
  const name = rates.get(input) ?? build.input(input, { dtype: build.type(like).dtype, shape: [] });
  rates.set(input, name);
  return name;
}

/** Scales stay positive; zero points stay where they round to one of the quantizer's integers. */
function keepLegal(
  build: Builder,
  { name, role }: Parameter,
  start: ReadonlyMap<string, Tensor>,
  next: string,
): string {
  const value = start.get(name);
  assert(value, `parameter "${name}" has no value`);
  if (role.endsWith("scale")) return keepAboveSmallest(build, name, value, next);
  if (role !== "input-zero-point") return next;
  const bounds =
    quantizersOf(build.graph([]))
      .find(({ zeroPoint }) => zeroPoint === name)
      ?.node.inputs.slice(3) ?? [];
  const [low, high] = bounds.map((bound) => build.constantOf(bound));
  assert(low && high, `the bounds of zero point "${name}" are no constants`);
  return build.node("Clip", [
    next,
    build.scalar(numbersOf(low)[0] - 0.49, next),
    build.scalar(numbersOf(high)[0] + 0.49, next),
  ]);
}
