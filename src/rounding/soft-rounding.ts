// Rounding as something that trains (AdaRound, arXiv:2004.10568): each weight is its integer below and a share of a step, which a
// variable gives.
import type { Builder } from "../ir/builder.ts";
import { clampTo, type Grid } from "./grid.ts";

/** Weights in units of their scales, w / s, and the grids that they are rounded to. */
export interface RoundedWeights {
  readonly quotients: Float64Array;
  readonly grid: Grid;
}

/** ζ and γ: the sigmoid is stretched to reach beyond 0 and 1, and cut off there. */
const [zeta, gamma] = [1.1, -0.1];

/** The offset that a variable gives, h(V) = clip(σ(V) (ζ − γ) + γ, 0, 1). */
export const offsetOf = (variable: number): number =>
  Math.min(1, Math.max(0, (zeta - gamma) / (1 + Math.exp(-variable)) + gamma));

/** The variable whose offset is this share of a step, 0 to 1. */
const variableOf = (offset: number): number => -Math.log((zeta - gamma) / (offset - gamma) - 1);

/** Ŵ = base + gain · h(V). What is rounded to the same integer up and down, beyond the grid's ends, has no gain. */
export interface SoftWeight {
  readonly base: Float64Array;
  readonly gain: Float64Array;
}

export function softWeightOf(weights: RoundedWeights): SoftWeight {
  const { base, gain } = softIntegers(weights);
  const scaled = (values: Float64Array): Float64Array => values.map((value, i) => value * weights.grid.scale[i]);
  return { base: scaled(base), gain: scaled(gain) };
}

/** The same in units of the scale, from the zero point on. */
export function softIntegers({ quotients, grid }: RoundedWeights): SoftWeight {
  const base = new Float64Array(quotients.length);
  const gain = new Float64Array(quotients.length);
  for (let i = 0; i < quotients.length; i++) {
    const below = Math.floor(quotients[i]) + grid.zeroPoint[i];
    const down = clampTo(grid, below);
    base[i] = down - grid.zeroPoint[i];
    gain[i] = clampTo(grid, below + 1) - down;
  }
  return { base, gain };
}

/** Where a weight on the grid starts: at offset 0 itself, a rounding error of the sigmoid would cut its gradient off. */
const leastOffset = 1e-6;

/** The variable at the start, where the soft weight is the weight itself. */
export function startOf({ quotients }: Pick<RoundedWeights, "quotients">): Float64Array {
  const start = new Float64Array(quotients.length);
  for (let i = 0; i < start.length; i++) {
    const share = quotients[i] - Math.floor(quotients[i]);
    start[i] = variableOf(Math.min(1 - leastOffset, Math.max(leastOffset, share)));
  }
  return start;
}

/** ⌊w / s⌋ + [V ≥ 0] */
export const hardIntegers = ({ quotients, grid }: RoundedWeights, variable: ArrayLike<number>): Float64Array =>
  quotients.map((quotient, i) => clampTo(grid, Math.floor(quotient) + Number(variable[i] >= 0) + grid.zeroPoint[i]));

/** h(V), and h'(V) = (ζ − γ) σ (1 − σ) where h is cut off nowhere, its ends included. */
export function softOffset(build: Builder, variable: string): { readonly offset: string; readonly derivative: string } {
  const number = (value: number): string => build.scalar(value, variable);
  const sigmoid = build.node("Sigmoid", [variable]);
  const stretched = build.node("Add", [build.node("Mul", [sigmoid, number(zeta - gamma)]), number(gamma)]);
  const offset = build.node("Clip", [stretched, number(0), number(1)]);
  const rest = build.node("Sub", [number(zeta), stretched]);
  const slope = build.node("Mul", [sigmoid, rest]);
  // Arithmetic, which engines fuse with what is around it: 1 − sign |stretched − h|.
  const isCut = build.node("Sign", [build.node("Abs", [build.node("Sub", [stretched, offset])])]);
  const derivative = build.node("Mul", [slope, build.node("Sub", [number(1), isCut])]);
  return { offset, derivative };
}

/** d/dh λ Σ (1 − |2h − 1|^β) = −2 λ β |2h − 1|^(β − 1) sign(2h − 1) */
export function regularizerGradient(build: Builder, offset: string, lambda: string, beta: string): string {
  const number = (value: number): string => build.scalar(value, offset);
  const centred = build.node("Sub", [build.node("Mul", [offset, number(2)]), number(1)]);
  // |2h − 1|^(β − 1), as engines compute logarithms and exponentials faster than powers.
  const logarithm = build.node("Log", [build.node("Abs", [centred])]);
  const power = build.node("Exp", [build.node("Mul", [logarithm, build.node("Sub", [beta, number(1)])])]);
  const signed = build.node("Mul", [power, build.node("Sign", [centred])]);
  const factor = build.node("Mul", [build.node("Mul", [lambda, beta]), number(-2)]);
  return build.node("Mul", [signed, factor]);
}
