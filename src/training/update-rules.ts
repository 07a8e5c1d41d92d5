// The rules by which the parameters of a model step: weights, biases and norms by an optimizer, qparams as they are trained.
import type { Builder } from "../ir/builder.ts";
import { assert } from "../ir/errors.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { quantizersOf } from "../quantizers/quantizer.ts";
import { addUpdate, type Optimizer, optimizerState } from "./optimizer.ts";
import type { Parameter } from "./parameters.ts";
import { addQparamUpdate, type QparamOptions, qparamVariables } from "./qparam-training.ts";
import { keepAboveSmallest } from "./smallest-scale.ts";
import type { UpdateRule } from "./step.ts";

export const optimizerRule = (optimizer: Optimizer): UpdateRule => ({
  state: (name, { dtype, shape }, rowAxis) => optimizerState(optimizer, name, dtype, shape, rowAxis),
  next: (build, step) => addUpdate(build, optimizer, step),
});

/** Of a scale or zero point that starts at `start`: it stays one that a quantizer can use. */
export const qparamRule = (options: QparamOptions, parameter: Parameter, start: Tensor): UpdateRule => ({
  state: (name, value, rowAxis) =>
    new Map([
      ...optimizerState(options.optimizer, name, value.dtype, value.shape, rowAxis),
      ...qparamVariables(options, parameter, value),
    ]),
  next: (build, step) => keepLegal(build, parameter, start, addQparamUpdate(build, options, parameter.role, step)),
});

/** Scales stay positive; zero points stay where they round to one of the quantizer's integers. */
function keepLegal(build: Builder, { name, role }: Parameter, start: Tensor, next: string): string {
  if (role.endsWith("scale")) return keepAboveSmallest(build, name, start, next);
  const bounds =
    quantizersOf(build.graph([]))
      .find(({ zeroPoint }) => zeroPoint === name)
      ?.node.inputs.slice(3) ?? [];
  const [low, high] = bounds.map((bound) => build.constantOf(bound));
  assert(low && high, `the bounds of zero point "${name}" are not constants`);
  return build.node("Clip", [
    next,
    build.scalar(numbersOf(low)[0] - 0.49, next),
    build.scalar(numbersOf(high)[0] + 0.49, next),
  ]);
}
