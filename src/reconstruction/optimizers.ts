// How variables of weights step.
import type { Builder } from "../ir/builder.ts";
import type { Tensor } from "../ir/tensor.ts";
import { zeros } from "../ir/tensor.ts";
import { addUpdate, type Optimizer, optimizerState } from "../training/optimizer.ts";
import type { GradientStep } from "../training/step.ts";

export const optimizerNames = ["adam", "adamw", "sgd", "sign-sgd", "adagrad", "adadelta"] as const;
export type OptimizerName = (typeof optimizerNames)[number];

interface VariableOptimizer {
  /** Variables beside the parameter, at their start. */
  readonly state: (name: string, value: Tensor) => ReadonlyMap<string, Tensor>;
  /** Gives the next value, not yet bound. */
  readonly next: (build: Builder, step: GradientStep) => string;
}

const trainingOptimizer = (optimizer: Optimizer): VariableOptimizer => ({
  state: (name, { dtype, shape }) => optimizerState(optimizer, name, dtype, shape, undefined),
  next: (build, step) => addUpdate(build, optimizer, step),
});

/** p − rate · sign g */
const signSgd: VariableOptimizer = {
  state: () => new Map(),
  next: (build, { name, gradient, learningRate }) => down(build, name, learningRate, build.node("Sign", [gradient])),
};

/** S ← S + g², p − rate · g / (√S + 1e-10) */
const adagrad: VariableOptimizer = {
  state: (name, { dtype, shape }) => new Map([[`${name}/squares`, zeros(dtype, shape)]]),
  next: (build, { name, gradient, learningRate }) => {
    const squares = build.variable(`${name}/squares`, build.type(name));
    const sum = build.node("Add", [squares, build.node("Mul", [gradient, gradient])]);
    build.update(squares, sum);
    const root = build.node("Add", [build.node("Sqrt", [sum]), build.scalar(1e-10, sum)]);
    return down(build, name, learningRate, build.node("Div", [gradient, root]));
  },
};

/** S ← ρ S + (1 − ρ) g², d = √(D + ε) / √(S + ε) · g, D ← ρ D + (1 − ρ) d², p − rate · d with ρ = 0.9 and ε = 1e-6 */
const adadelta: VariableOptimizer = {
  state: (name, { dtype, shape }) =>
    new Map([
      [`${name}/squares`, zeros(dtype, shape)],
      [`${name}/moves`, zeros(dtype, shape)],
    ]),
  next: (build, { name, gradient, learningRate }) => {
    const number = (value: number): string => build.scalar(value, gradient);
    const [squares, moves] = ["squares", "moves"].map((what) => build.variable(`${name}/${what}`, build.type(name)));
    const averaged = (old: string, value: string): string => {
      const squared = build.node("Mul", [build.node("Mul", [value, value]), number(0.1)]);
      return build.node("Add", [build.node("Mul", [old, number(0.9)]), squared]);
    };
    const rootOf = (value: string): string => build.node("Sqrt", [build.node("Add", [value, number(1e-6)])]);
    const mean = averaged(squares, gradient);
    const move = build.node("Mul", [build.node("Div", [rootOf(moves), rootOf(mean)]), gradient]);
    build.update(squares, mean);
    build.update(moves, averaged(moves, move));
    return down(build, name, learningRate, move);
  },
};

const down = (build: Builder, name: string, rate: string, direction: string): string =>
  build.node("Sub", [name, build.node("Mul", [direction, rate])]);

/** As PyTorch computes them. */
export const optimizers: Readonly<Record<OptimizerName, VariableOptimizer>> = {
  adam: trainingOptimizer({ kind: "adam", weightDecay: 0 }),
  adamw: trainingOptimizer({ kind: "adamw", weightDecay: 0.01 }),
  sgd: trainingOptimizer({ kind: "sgd", momentum: 0.9, weightDecay: 0 }),
  "sign-sgd": signSgd,
  adagrad,
  adadelta,
};
