// Rounded down or up, by a rectified sigmoid (AdaRound, arXiv:2004.10568), with scales that stay or learn (Genie-M, arXiv:2212.04780).
import { tensorOf } from "../ir/tensor.ts";
import { nearestIntegers } from "../rounding/grid.ts";
import { hardIntegers, softIntegers, softOffset, startOf } from "../rounding/soft-rounding.ts";
import { elementwise, type LearnedWeight, parameterOf, spread, type WeightVariable } from "./weight-variable.ts";

const scaleName = (weight: LearnedWeight): string => parameterOf(weight, "scale");

export const sigmoidWeight: WeightVariable = {
  parameters: (weight) => {
    const { dtype, shape, weights, variable, scales, trainsScale } = weight;
    const start = tensorOf(dtype, shape, startOf(weights));
    const rounding = { name: variable, start, rate: "rounding", isPulled: true } as const;
    return trainsScale
      ? [rounding, { name: scaleName(weight), start: scales, rate: "scale", isScale: true }]
      : [rounding];
  },

  /** Ŵ = base + gain · h(V), times the scale where that trains. */
  add: (build, weight) => {
    const { base, gain } = softIntegersOf(weight);
    const { scale } = weight.weights.grid;
    const given = (values: Float64Array, what: string): string =>
      elementwise(build, weight, what)(weight.trainsScale ? values : values.map((value, i) => value * scale[i]));
    const { offset } = softOffset(build, weight.variable);
    const scaled = build.node("Mul", [offset, given(gain, "gain")]);
    const soft = build.node("Add", [scaled, given(base, "base")]);
    return weight.trainsScale ? build.node("Mul", [soft, spread(build, weight, scaleName(weight))]) : soft;
  },

  harden: (weight, trained) => {
    const { weights, learns, variable, trainsScale } = weight;
    const nearest = learns && nearestIntegers(weights.quotients, weights.grid);
    const integers = hardIntegers(weights, trained(variable)).map((q, i) => (nearest && !learns[i] ? nearest[i] : q));
    return trainsScale ? { integers, scales: trained(scaleName(weight)).map(weight.storedScale) } : { integers };
  },
};

/** What does not learn has the nearest integer, and no gain. */
function softIntegersOf({ weights, learns }: LearnedWeight): ReturnType<typeof softIntegers> {
  const { base, gain } = softIntegers(weights);
  if (!learns) return { base, gain };
  const nearest = nearestIntegers(weights.quotients, weights.grid);
  return {
    base: base.map((low, i) => (learns[i] ? low : nearest[i] - weights.grid.zeroPoint[i])),
    gain: gain.map((step, i) => step * learns[i]),
  };
}
