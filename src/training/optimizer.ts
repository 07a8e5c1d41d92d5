// Optimizers, as update nodes added to the training graph.

import { rowAxisIn } from "../autodiff/gradient.ts";
import type { Builder } from "../ir/builder.ts";
import type { DType } from "../ir/dtype.ts";
import { type Tensor, zeros } from "../ir/tensor.ts";
import type { GradientStep } from "./step.ts";

export type Optimizer =
  | { readonly kind: "sgd"; readonly momentum: number; readonly weightDecay: number }
  /** adam: weight decay as L2; adamw: decoupled, w − learningRate · weightDecay · w. */
  | { readonly kind: "adam" | "adamw"; readonly weightDecay: number };

/** The optimizer's variables for one parameter, by name, at their start. Adam counts the steps of each row where `rowAxis` has rows that train. */
export function optimizerState(
  optimizer: Optimizer,
  name: string,
  dtype: DType,
  shape: readonly number[],
  rowAxis: number | undefined,
): ReadonlyMap<string, Tensor> {
  if (optimizer.kind === "sgd") return new Map([[`${name}/velocity`, zeros(dtype, shape)]]);
  return new Map([
    [`${name}/first_moment`, zeros(dtype, shape)],
    [`${name}/second_moment`, zeros(dtype, shape)],
    [`${name}/steps`, zeros(dtype, rowAxis === undefined ? [] : [shape[Math.min(rowAxis, shape.length - 1)]])],
  ]);
}

/** Adds the update of a parameter from `value`, which is the parameter itself by default. Returns the new value's name, not yet bound. */
export function addUpdate(
  build: Builder,
  optimizer: Optimizer,
  { name, gradient, learningRate, rows }: GradientStep,
  value = name,
): string {
  const { dtype, shape } = build.type(name);
  const state = optimizerState(optimizer, name, dtype, shape.map(Number), rows?.axis);
  for (const [variable, value] of state) build.variable(variable, { dtype, shape: value.shape });
  const axis = rows ? { axis: rowAxisIn(shape, rows) } : {};
  const settings =
    optimizer.kind === "sgd"
      ? { momentum: optimizer.momentum, weightDecay: optimizer.weightDecay }
      : {
          beta1: 0.9,
          beta2: 0.999,
          epsilon: 1e-8,
          weightDecay: optimizer.weightDecay,
          ...(optimizer.kind === "adamw" ? { decoupled: 1 } : {}),
        };
  const [next, ...states] = build.nodes(
    optimizer.kind === "sgd" ? "SgdUpdate" : "AdamUpdate",
    [value, gradient, ...state.keys(), learningRate, rows?.rows],
    [true, ...[...state].map(() => true)],
    { ...settings, ...axis },
    `${name}/update`,
  );
  [...state.keys()].forEach((variable, i) => {
    build.update(variable, states[i]);
  });
  return next;
}
