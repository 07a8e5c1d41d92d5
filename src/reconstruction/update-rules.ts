// How rounding variables and the steps of activations train.
import type { Builder } from "../ir/builder.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, sizeOf } from "../ir/tensor.ts";
import type { Quantizer } from "../quantizers/quantizer.ts";
import { regularizerGradient, softOffset } from "../rounding/soft-rounding.ts";
import { addUpdate, type Optimizer, optimizerState } from "../training/optimizer.ts";
import { keepAboveSmallest } from "../training/smallest-scale.ts";
import type { TrainedParameter, UpdateRule } from "../training/step.ts";
import { activationQuantizers, type SoftRounding } from "./soft-unit.ts";

/** Inputs of a step: learning rates, and the strength and the exponent of the term that drives offsets to 0 or 1. */
export const roundingRateInput = "frostbit/rounding-rate";
export const stepRateInput = "frostbit/step-rate";
export const lambdaInput = "frostbit/lambda";
export const betaInput = "frostbit/beta";

const adam: Optimizer = { kind: "adam", weightDecay: 0 };

/** A scalar that all parameters share. */
function scalarInput(build: Builder, name: string, like: string): string {
  if (build.graph([]).inputs.includes(name)) return name;
  return build.input(name, { dtype: build.type(like).dtype, shape: [] });
}

/** Adam on the gradient of the loss and of λ Σ (1 − |2h(V) − 1|^β), whose value nobody needs. */
const roundingRule: UpdateRule = {
  state: (name, { dtype, shape }) => optimizerState(adam, name, dtype, shape, undefined),
  next: (build, step) => {
    const { offset, derivative } = softOffset(build, step.name);
    const [lambda, beta] = [lambdaInput, betaInput].map((input) => scalarInput(build, input, step.name));
    const pull = build.node("Mul", [regularizerGradient(build, offset, lambda, beta), derivative]);
    return addUpdate(build, adam, { ...step, gradient: build.node("Add", [step.gradient, pull]) });
  },
};

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

export const roundingParameters = (roundings: readonly SoftRounding[]): readonly TrainedParameter[] =>
  roundings.map(({ variable }) => ({ ...whole, name: variable, rule: roundingRule, learningRate: roundingRateInput }));

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
