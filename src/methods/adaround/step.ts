// One iteration of AdaRound (arXiv:2004.10568) as a graph: soft weights, the gradient in closed form, a step of Adam.
import type { DType } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import { type Tensor, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import type { RoundingProblem } from "../../rounding/problem.ts";
import { regularizerGradient, softOffset, softWeightOf, startOf } from "../../rounding/soft-rounding.ts";
import { addUpdate, optimizerState } from "../../training/optimizer.ts";

export const variableName = "rounding";
/** Inputs of the graph: scalars. */
export const [learningRateName, lambdaName, betaName] = ["learningRate", "lambda", "beta"];

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
