// How variables of weights, steps of activations and biases train.
import type { Builder } from "../ir/builder.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, scalar, sizeOf } from "../ir/tensor.ts";
import type { Quantizer } from "../quantizers/quantizer.ts";
import { regularizerGradient, softOffset } from "../rounding/soft-rounding.ts";
import type { Optimizer } from "../training/optimizer.ts";
import { addUpdate, optimizerState } from "../training/optimizer.ts";
import { normsOf, parametersOf } from "../training/parameters.ts";
import { keepAboveSmallest } from "../training/smallest-scale.ts";
import type { GradientStep, TrainedParameter, UpdateRule } from "../training/step.ts";
import { optimizerRule } from "../training/update-rules.ts";
import { lossName } from "./loss.ts";
import { type OptimizerName, optimizers } from "./optimizers.ts";
import { activationQuantizers, learnedParameters, type SoftWeights } from "./soft-unit.ts";
import type { LearnedParameter } from "./weight-variable.ts";

/** Inputs of a step: learning rates, and the strength and the exponent of the term that drives offsets to 0 or 1. */
export const roundingRateInput = "frostbit/rounding-rate";
export const scaleRateInput = "frostbit/scale-rate";
export const stepRateInput = "frostbit/step-rate";
export const biasRateInput = "frostbit/bias-rate";
export const lambdaInput = "frostbit/lambda";
export const betaInput = "frostbit/beta";

const adam: Optimizer = { kind: "adam", weightDecay: 0 };

/** A scalar that all parameters share. */
function scalarInput(build: Builder, name: string, like: string): string {
  if (build.graph([]).inputs.includes(name)) return name;
  return build.input(name, { dtype: build.type(like).dtype, shape: [] });
}

/** Of λ Σ (1 − |2h(V) − 1|^β), whose value nobody needs. */
function pullOf(build: Builder, variable: string): string {
  const { offset, derivative } = softOffset(build, variable);
  const [lambda, beta] = [lambdaInput, betaInput].map((input) => scalarInput(build, input, variable));
  return build.node("Mul", [regularizerGradient(build, offset, lambda, beta), derivative]);
}

/** Where the values of a parameter at the least loss so far are kept, and that loss. */
export const bestOf = (name: string): string => `${name}/best`;
const leastLossOf = (name: string): string => `${name}/least_loss`;

/** Beyond any loss. */
const anyLoss = 1e30;

/** The values that a step's loss is of, where it is the least. */
function keepBest(build: Builder, name: string): void {
  const least = build.variable(leastLossOf(name), { dtype: build.type(name).dtype, shape: [] });
  const isLess = build.node("Less", [lossName, least]);
  build.update(bestOf(name), build.node("Where", [isLess, name, bestOf(name)]));
  build.update(least, build.node("Min", [lossName, least]));
}

function learnedRule(parameter: LearnedParameter, { optimizer, keep }: WeightTraining): UpdateRule {
  const { state, next } = optimizers[parameter.isScale ? "adam" : optimizer];
  const { start, isPulled, isScale, least = 0, bounds } = parameter;
  const kept = (build: Builder, name: string, value: string): string => {
    if (isScale) {
      const above = keepAboveSmallest(build, name, start, value);
      return least > 0 ? build.node("Max", [above, build.scalar(least, above)]) : above;
    }
    return bounds ? build.node("Clip", [value, ...bounds.map((bound) => build.scalar(bound, value))]) : value;
  };
  return {
    state: (name, value) =>
      new Map([
        ...state(name, value),
        ...(keep === "best" ? [[leastLossOf(name), scalar(value.dtype, anyLoss)] as const] : []),
      ]),
    next: (build: Builder, step: GradientStep) => {
      if (keep === "best") keepBest(build, step.name);
      const gradient = isPulled ? build.node("Add", [step.gradient, pullOf(build, step.name)]) : step.gradient;
      return kept(build, step.name, next(build, { ...step, gradient }));
    },
  };
}

/** Adam on the gradient times 1/√(N · p), of the N elements in a batch that share the step; p is the highest integer. */
function stepRule(unit: Graph, quantizer: Quantizer): UpdateRule {
  const start = unit.constants.get(quantizer.scale);
  const high = unit.constants.get(quantizer.node.inputs[4]);
  assert(start && high, `quantizer "${quantizer.node.name}" has no constant step`);
  const shape = unit.values.get(quantizer.value)?.shape.map(Number) ?? [];
  const factor = 1 / Math.sqrt((sizeOf(shape) / sizeOf(start.shape)) * numbersOf(high)[0]);
  return {
    state: (name, { dtype, shape: sizes }) => optimizerState(adam, name, dtype, sizes, undefined),
    next: (build, step) => {
      const gradient = build.node("Mul", [step.gradient, build.scalar(factor, step.name)]);
      return keepAboveSmallest(build, step.name, start, addUpdate(build, adam, { ...step, gradient }));
    },
  };
}

const whole = { trains: "all", isClipped: false } as const;

/** How variables of weights step. */
export interface WeightTraining {
  readonly optimizer: OptimizerName;
  /** Which of their values count in the end: the last, or those at the least loss of a step. */
  readonly keep: "last" | "best";
}

/** Nothing of its own: what it belongs to updates it. */
const heldRule: UpdateRule = { state: () => new Map(), next: (_, { name }) => name };

export const weightParameters = (soft: SoftWeights, training: WeightTraining): readonly TrainedParameter[] =>
  learnedParameters(soft).flatMap((parameter) => {
    const learningRate = parameter.rate === "rounding" ? roundingRateInput : scaleRateInput;
    const rule = learnedRule(parameter, training);
    const trained = { ...whole, name: parameter.name, rule, learningRate };
    const best = {
      name: bestOf(parameter.name),
      rule: heldRule,
      learningRate,
      trains: "none",
      isClipped: false,
    } as const;
    return training.keep === "best" ? [trained, best] : [trained];
  });

/** Each step once, though several quantizers share it. */
export function stepParameters(unit: Graph): readonly TrainedParameter[] {
  const byScale = new Map(activationQuantizers(unit).map((quantizer) => [quantizer.scale, quantizer]));
  return [...byScale].map(([name, quantizer]) => ({
    ...whole,
    name,
    rule: stepRule(unit, quantizer),
    learningRate: stepRateInput,
  }));
}

/** What normalizations multiply by and add, at the rate of weights. */
export const normParameters = (unit: Graph): readonly TrainedParameter[] =>
  normsOf(unit).map((name) => ({ ...whole, name, rule: optimizerRule(adam), learningRate: roundingRateInput }));

/** Biases of layers, and what normalizations add. */
export function biasParameters(unit: Graph): readonly TrainedParameter[] {
  const added = new Set(unit.nodes.map(({ inputs }) => inputs[2]));
  return parametersOf(unit)
    .filter(({ name, role }) => role === "bias" || (role === "norm" && added.has(name)))
    .map(({ name }) => ({ ...whole, name, rule: optimizerRule(adam), learningRate: biasRateInput }));
}
