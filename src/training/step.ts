// Builds a training step: forward, loss, backward of what is wanted and the parameters' updates, as one graph, or two where the
// gradients of several micro-batches are added up first.
import { appendGradients, type WantedValues } from "../autodiff/gradient.ts";
import type { CompileOptions } from "../engines/engine.ts";
import type { Builder } from "../ir/builder.ts";
import { assert } from "../ir/errors.ts";
import type { Graph, Node } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { Rows } from "../ops/definition.ts";
import { buildOn } from "../ops/infer.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import type { PartStatistic } from "../passes/train-batch-norm.ts";
import type { Context } from "../run/context.ts";
import { trainingOptions } from "../run/with-program.ts";
import { followSums, meansOf, type Summed, summedOf } from "./accumulation.ts";
import { clipByNorm } from "./clip-by-norm.ts";
import { recomputeSegments } from "./recompute.ts";

/** Adds the loss of a forward pass whose nodes `build` holds; the name of its value, a scalar. What it needs besides may be inputs. */
type Loss = (build: Builder, forward: Graph) => string;

/** What a rule updates a parameter with. */
export interface GradientStep {
  readonly name: string;
  readonly gradient: string;
  readonly learningRate: string;
  /** The rows that the gradient is of; absent: all. */
  readonly rows: Rows | undefined;
}

/** How a parameter steps. */
export interface UpdateRule {
  /** The variables that the rule keeps beside the parameter, at their start; `rowAxis` where rows of it train. */
  readonly state: (name: string, value: Tensor, rowAxis: number | undefined) => ReadonlyMap<string, Tensor>;
  /** Gives the parameter's next value, not yet bound to it. */
  readonly next: (build: Builder, step: GradientStep) => string;
}

/** The rows along `axis` whose indices the input `rowsInput(weight)` holds: parameters of one weight share them. */
interface ChosenRows {
  readonly weight: string;
  readonly axis: number;
}

/** A variable of the forward pass that trains. */
export interface TrainedParameter {
  readonly name: string;
  readonly rule: UpdateRule;
  /** The input that holds its learning rate; parameters may share one. */
  readonly learningRate: string;
  /** "none": it has its state, and another step graph of the same run may train it. */
  readonly trains: "all" | "none" | ChosenRows;
  /** Whether `clipNorm` is of its gradient too. */
  readonly isClipped: boolean;
}

export interface StepOptions {
  /** Of static shapes, its parameters variables. */
  readonly forward: Graph;
  /** The values of its variables. */
  readonly start: ReadonlyMap<string, Tensor>;
  readonly loss: Loss;
  readonly parameters: readonly TrainedParameter[];
  /** The largest norm of the gradients of clipped parameters, all together; absent: any. */
  readonly clipNorm?: number | undefined;
  /** Runs of the forward pass whose gradients are added up before `apply` steps by their mean. */
  readonly microBatches: number;
  /** Of several micro-batches: what each does to running statistics, which follow them in `apply`. */
  readonly statistics?: readonly PartStatistic[];
  /** Once the loss is there: segments of the forward pass that are computed again for the gradients, by names of nodes; absent: none. */
  readonly recomputed?: (() => readonly ReadonlySet<string>[]) | undefined;
}

export interface Step {
  /** Outputs: the loss, and what is added up over several micro-batches. Inputs: the forward pass's, the loss's, and those of `apply` where there is none. */
  readonly graph: Graph;
  /** Where there are several micro-batches: steps by their sums. Inputs: those, learning rates and rows. */
  readonly apply?: Graph;
  /** Where there are several micro-batches: what is added up besides the loss. */
  readonly summed: readonly Summed[];
  readonly loss: string;
  readonly microBatches: number;
  /** Values of the variables at the start, optimizer state included. */
  readonly initial: ReadonlyMap<string, Tensor>;
  /** For each weight of which rows train, the input that holds the rows' indices. */
  readonly rowInputs: ReadonlyMap<string, string>;
  /** The nodes of the forward pass whose gradients the values of the backward pass are of. */
  readonly gradientsOf: ReadonlyMap<string, Node>;
}

/** How a step's graphs are compiled. */
export const stepOptions = ({ summed }: Step, context: Context): CompileOptions => ({
  ...trainingOptions(context),
  gradients: summed.map(({ output }) => output),
});

/** By parameter. */
type Gradients = ReadonlyMap<string, string>;

/** The input that holds the indices of the rows that train of a weight. */
export const rowsInput = (weight: string): string => `frostbit/rows:${weight}`;

/** How many they are, as a size of that input and of the weight's gradient. */
export const rowsSize = (weight: string): string => `rows:${weight}`;

export function buildStep(options: StepOptions): Step {
  const { forward, parameters, microBatches } = options;
  const build = buildOn(forward);
  const loss = options.loss(build, forward);
  const rowInputs = addRowInputs(build, parameters);
  const wanted = wantedOf(parameters);
  const gradientsOf = new Map<string, Node>();
  const { nodes } = build.graph([loss]);
  const gradients = appendGradients(build, nodes, loss, wanted, gradientsOf);
  const finished = (name: string, outputs: readonly string[]): Graph => {
    const graph = build.graph(outputs, name);
    const segments = options.recomputed?.();
    const forwardNodes = new Set(nodes.map((node) => node.name));
    return removeDeadNodes(segments ? recomputeSegments(graph, { forward: forwardNodes, segments }) : graph);
  };
  const initial = initialVariables(options);
  const common = { loss, microBatches, initial, rowInputs, gradientsOf };
  if (microBatches === 1) {
    addUpdates(build, options, gradients, wanted);
    return { graph: finished("step", [loss]), summed: [], ...common };
  }
  const summed = summedOf(build, gradients, options.statistics ?? []);
  const outputs = new Set([loss, ...summed.map(({ output }) => output)]);
  return {
    graph: finished("micro-batch of a step", [...outputs]),
    apply: buildApply(options, [...gradients.keys()]),
    summed,
    ...common,
  };
}

/** Without the forward pass's inputs, its nodes are dead. */
function buildApply(options: StepOptions, names: readonly string[]): Graph {
  const build = buildOn({ ...options.forward, inputs: [], outputs: [], updates: new Map() });
  addRowInputs(build, options.parameters);
  const wanted = wantedOf(options.parameters);
  const stepped = new Map([...wanted].filter(([name]) => names.includes(name)));
  const gradients = meansOf(build, stepped, options.microBatches);
  addUpdates(build, options, gradients, wanted);
  followSums(build, options.statistics ?? [], options.microBatches);
  return removeDeadNodes(build.graph([], "apply a step"));
}

/** By weight, each once. */
function addRowInputs(build: Builder, parameters: readonly TrainedParameter[]): ReadonlyMap<string, string> {
  const inputs = new Map<string, string>();
  for (const { trains } of parameters) {
    if (typeof trains === "string" || inputs.has(trains.weight)) continue;
    const type = { dtype: "int64", shape: [rowsSize(trains.weight)] } as const;
    inputs.set(trains.weight, build.input(rowsInput(trains.weight), type));
  }
  return inputs;
}

const wantedOf = (parameters: readonly TrainedParameter[]): WantedValues =>
  new Map(
    parameters.flatMap(({ name, trains }) => {
      if (trains === "none") return [];
      return [[name, trains === "all" ? trains : { rows: rowsInput(trains.weight), axis: trains.axis }] as const];
    }),
  );

function rowsOf(wanted: WantedValues, name: string): Rows | undefined {
  const want = wanted.get(name);
  return want === "all" ? undefined : want;
}

/** The forward pass's variables and what the rules keep. */
function initialVariables({ start, parameters }: StepOptions): ReadonlyMap<string, Tensor> {
  const initial = new Map(start);
  for (const { name, rule, trains } of parameters) {
    const value = start.get(name);
    assert(value, `parameter "${name}" has no value`);
    const rowAxis = typeof trains === "string" ? undefined : trains.axis;
    for (const [variable, state] of rule.state(name, value, rowAxis)) initial.set(variable, state);
  }
  return initial;
}

/** Binds the next value of every parameter that has a gradient. */
function addUpdates(
  build: Builder,
  { parameters, clipNorm }: StepOptions,
  found: Gradients,
  wanted: WantedValues,
): void {
  const clipped = parameters.filter(({ isClipped }) => isClipped).map(({ name }) => name);
  const gradients = clipNorm === undefined ? found : clipByNorm(build, found, clipped, clipNorm);
  const rates = new Map<string, string>();
  for (const { name, rule, learningRate: input } of parameters) {
    const gradient = gradients.get(name);
    if (gradient === undefined) continue;
    const learningRate = rates.get(input) ?? build.input(input, { dtype: build.type(name).dtype, shape: [] });
    rates.set(input, learningRate);
    build.update(name, rule.next(build, { name, gradient, learningRate, rows: rowsOf(wanted, name) }));
  }
}
