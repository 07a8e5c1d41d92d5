// One iteration of AdaRound (arXiv:2004.10568) as a graph: soft weights, the gradient in closed form, a step of Adam.
import type { Builder } from "../../ir/builder.ts";
import type { DType } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import { type Tensor, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { clampTo } from "../../rounding/grid.ts";
import type { RoundingProblem } from "../../rounding/problem.ts";
import { addUpdate, optimizerState } from "../../training/optimizer.ts";

/** ζ and γ: the sigmoid is stretched to reach beyond 0 and 1, and cut off there. */
const [zeta, gamma] = [1.1, -0.1];

export const variableName = "rounding";
/** Inputs of the graph: scalars. */
export const [learningRateName, lambdaName, betaName] = ["learningRate", "lambda", "beta"];

/** The offset that a variable gives, h(V) = clip(σ(V) (ζ − γ) + γ, 0, 1). */
export const offsetOf = (variable: number): number =>
  Math.min(1, Math.max(0, (zeta - gamma) / (1 + Math.exp(-variable)) + gamma));

/** The variable whose offset is this share of a step, 0 to 1. */
const variableOf = (offset: number): number => -Math.log((zeta - gamma) / (offset - gamma) - 1);

/** Ŵ = base + gain · h(V). What is rounded to the same integer up and down, beyond the grid's ends, has no gain. */
interface SoftWeight {
  readonly base: Float64Array;
  readonly gain: Float64Array;
}

function softWeightOf({ quotients, grid }: RoundingProblem): SoftWeight {
  const base = new Float64Array(quotients.length);
  const gain = new Float64Array(quotients.length);
  quotients.forEach((quotient, i) => {
    const [down, up] = [0, 1].map((offset) => clampTo(grid, Math.floor(quotient) + offset + grid.zeroPoint[i]));
    base[i] = (down - grid.zeroPoint[i]) * grid.scale[i];
    gain[i] = (up - down) * grid.scale[i];
  });
  return { base, gain };
}

/** Where a weight on the grid starts: at offset 0 itself, a rounding error of the sigmoid would cut its gradient off. */
const leastOffset = 1e-6;

/** The variable at the start, where the soft weight is the weight itself. */
export const startOf = ({ quotients }: RoundingProblem): Float64Array =>
  quotients.map((quotient) =>
    variableOf(Math.min(1 - leastOffset, Math.max(leastOffset, quotient - Math.floor(quotient)))),
  );

/** ⌊w / s⌋ + [V ≥ 0] */
export const hardIntegers = ({ quotients, grid }: RoundingProblem, variable: ArrayLike<number>): Float64Array =>
  quotients.map((quotient, i) => clampTo(grid, Math.floor(quotient) + Number(variable[i] >= 0) + grid.zeroPoint[i]));

export interface RoundingStep {
  readonly graph: Graph;
  readonly initial: ReadonlyMap<string, Tensor>;
}

/** A run takes the variable one step down tr(Ŵ A Ŵᵀ) − 2 tr(Ŵ Cᵀ) + λ Σ (1 − |2h − 1|^β), rows weighed by their factors squared. */
export function roundingStep(problem: RoundingProblem, dtype: DType): RoundingStep {
  const { form, moments, factors } = problem;
  const { groups, rows, columns } = form;
  const build = buildOn();
  const lead = groups === 1 ? [] : [groups];
  const shape = [...lead, rows, columns];
  const given = (values: ArrayLike<number>, dims: readonly number[], name: string): string =>
    build.constant(tensorOf(dtype, dims, values), name);
  const { base, gain } = softWeightOf(problem);
  const perSample = (values: Float64Array): Float64Array => values.map((value) => value / Math.max(1, moments.count));
  const slope = gain.map((value, i) => 2 * value * factors[Math.floor(i / columns)] ** 2);

  const [learningRate, lambda, beta] = [learningRateName, lambdaName, betaName].map((name) =>
    build.input(name, { dtype, shape: [] }),
  );
  const variable = build.variable(variableName, { dtype, shape });
  const { offset, derivative } = softOffset(build, variable);
  const soft = build.node("Add", [build.node("Mul", [offset, given(gain, shape, "gain")]), given(base, shape, "base")]);
  const product = build.node("MatMul", [soft, given(perSample(moments.inputs), [...lead, columns, columns], "A")]);
  const residual = build.node("Sub", [product, given(perSample(moments.cross), shape, "C")]);
  const fit = build.node("Mul", [residual, given(slope, shape, "slope")]);
  const total = build.node("Add", [fit, regularizerGradient(build, offset, lambda, beta)]);
  const gradient = build.node("Mul", [total, derivative], {}, "gradient");
  const adam = { kind: "adam", weightDecay: 0 } as const;
  build.update(variable, addUpdate(build, adam, { name: variable, gradient, learningRate, rows: undefined }));
  const start = tensorOf(dtype, shape, startOf(problem));
  return {
    graph: build.graph([]),
    initial: new Map([[variable, start], ...optimizerState(adam, variable, dtype, shape, undefined)]),
  };
}

/** h(V), and h'(V) = (ζ − γ) σ (1 − σ) where h is cut off nowhere, its ends included. */
function softOffset(build: Builder, variable: string): { offset: string; derivative: string } {
  const number = (value: number): string => build.scalar(value, variable);
  const sigmoid = build.node("Sigmoid", [variable]);
  const stretched = build.node("Add", [build.node("Mul", [sigmoid, number(zeta - gamma)]), number(gamma)]);
  const offset = build.node("Clip", [stretched, number(0), number(1)]);
  const rest = build.node("Sub", [number(zeta), stretched]);
  const slope = build.node("Mul", [sigmoid, rest]);
  const derivative = build.node("Where", [build.node("Equal", [offset, stretched]), slope, number(0)]);
  return { offset, derivative };
}

/** d/dh λ Σ (1 − |2h − 1|^β) = −2 λ β |2h − 1|^(β − 1) sign(2h − 1) */
function regularizerGradient(build: Builder, offset: string, lambda: string, beta: string): string {
  const number = (value: number): string => build.scalar(value, offset);
  const centred = build.node("Sub", [build.node("Mul", [offset, number(2)]), number(1)]);
  const power = build.node("Pow", [build.node("Abs", [centred]), build.node("Sub", [beta, number(1)])]);
  const signed = build.node("Mul", [power, build.node("Sign", [centred])]);
  const factor = build.node("Mul", [build.node("Mul", [lambda, beta]), number(-2)]);
  return build.node("Mul", [signed, factor]);
}
