// Rounded to the nearest of levels that are not evenly spaced, behind an offset that learns by straight-through gradients; of
// powers, the exponent learns too (NUPES, arXiv:2308.05600).
import type { Builder } from "../ir/builder.ts";
import { assert } from "../ir/errors.ts";
import { nearestLevel } from "../ir/nearest-level.ts";
import { scalar, sizeOf, tensorOf } from "../ir/tensor.ts";
import { powerLevels } from "../quantizers/levels.ts";
import { straightRound } from "./straight-round.ts";
import { elementwise, type LearnedWeight, parameterOf, type WeightVariable } from "./weight-variable.ts";

/** What exponents are kept within. */
const exponentBounds = [0.2, 2] as const;

const exponentName = (weight: LearnedWeight): string => parameterOf(weight, "exponent");

function levelsOf({ weights: { grid } }: LearnedWeight): Float64Array {
  assert(grid.levels, "the weight has no levels");
  return grid.levels;
}

/** Half of the levels of powers: N of (|k| / N)^(1/a). */
const halfOf = (weight: LearnedWeight): number => (levelsOf(weight).length - 1) / 2;

/** Of powers whose first level above 0 is (1/N)^(1/a). With one level on each side all exponents are alike. */
const trainsExponent = (weight: LearnedWeight): boolean => weight.trainsScale && halfOf(weight) > 1;
const exponentOf = (weight: LearnedWeight): number =>
  Math.log(1 / halfOf(weight)) / Math.log(levelsOf(weight)[halfOf(weight) + 1]);

/** An offset of 1 is the mean distance between levels. */
function stepOf(weight: LearnedWeight): number {
  const levels = levelsOf(weight);
  return (levels[levels.length - 1] - levels[0]) / Math.max(1, levels.length - 1);
}

export const levelWeight: WeightVariable = {
  parameters: (weight) => {
    const { dtype, shape, variable } = weight;
    const start = tensorOf(dtype, shape, new Float64Array(sizeOf(shape)));
    const offset = { name: variable, start, rate: "rounding" } as const;
    if (!trainsExponent(weight)) return [offset];
    const exponent = scalar(dtype, exponentOf(weight));
    return [offset, { name: exponentName(weight), start: exponent, rate: "scale", bounds: exponentBounds }];
  },

  /** Ŵ = s · (the level nearest to u = W / s + v), whose derivative by u is 1 between the ends, and by the exponent that of the level. */
  add: (build, weight) => {
    const { weights, learns, variable } = weight;
    const given = (values: Float64Array, what: string): string => elementwise(build, weight, what)(values);
    const moved = build.node("Mul", [variable, build.scalar(stepOf(weight), variable)]);
    const offset = learns ? build.node("Mul", [moved, given(learns, "learns")]) : moved;
    const quotient = build.node("Add", [given(weights.quotients, "quotients"), offset]);
    const level = addNearest(build, weight, quotient);
    return build.node("Mul", [level, given(weights.grid.scale, "scale")]);
  },

  harden: (weight, trained) => {
    const { weights, learns, variable, dtype } = weight;
    const bits = Math.log2(levelsOf(weight).length + 1);
    const round = dtype === "float32" ? Math.fround : (value: number) => value;
    const levels = trainsExponent(weight)
      ? powerLevels(trained(exponentName(weight))[0], bits).map(round)
      : levelsOf(weight);
    const step = stepOf(weight);
    const integers = trained(variable).map((offset, i) =>
      nearestLevel(levels, weights.quotients[i] + offset * step * (learns?.[i] ?? 1)),
    );
    return trainsExponent(weight) ? { integers, levels } : { integers };
  },
};

/** [levels] */
function addLevels(build: Builder, weight: LearnedWeight): string {
  const { dtype, quantizer } = weight;
  const levels = levelsOf(weight);
  const constant = (values: Float64Array, what: string): string =>
    build.constant(tensorOf(dtype, [levels.length], values), `${quantizer.output}/${what}`);
  if (!trainsExponent(weight)) return constant(levels, "levels");
  const half = halfOf(weight);
  const places = Float64Array.from(levels, (_, i) => i - half);
  // ln 1 for level 0, which its sign takes out.
  const logs = constant(
    places.map((k) => Math.log(Math.max(1, Math.abs(k)) / half) * Math.abs(Math.sign(k))),
    "logs",
  );
  const powers = build.node("Exp", [build.node("Div", [logs, exponentName(weight)])]);
  return build.node("Mul", [powers, constant(places.map(Math.sign), "signs")]);
}

/** t0 + Σ (t[k + 1] − t[k]) · [u > (t[k] + t[k + 1]) / 2], and u between the ends with a value of 0. */
function addNearest(build: Builder, weight: LearnedWeight, quotient: string): string {
  const { length } = levelsOf(weight);
  const levels = addLevels(build, weight);
  const part = (from: number, to: number): string =>
    build.node("Slice", [levels, build.ints([from]), build.ints([to])]);
  const [lower, upper, first] = [part(0, length - 1), part(1, length), part(0, 1)];
  const middles = build.node("Mul", [build.node("Add", [lower, upper]), build.scalar(0.5, levels)]);
  const isAbove = build.node("Greater", [build.node("Unsqueeze", [quotient, build.ints([-1])]), middles]);
  const steps = build.node("Unsqueeze", [build.node("Sub", [upper, lower]), build.ints([-1])]);
  const { dtype, shape } = build.type(quotient);
  const count = shape.reduce<number>((product, size) => product * Number(size), 1);
  const flat = build.node("Reshape", [build.node("Cast", [isAbove], { to: dtype }), build.ints([count, length - 1])]);
  const above = build.node("Reshape", [build.node("MatMul", [flat, steps]), build.ints(shape.map(Number))]);
  const level = build.node("Add", [above, first]);
  return build.node("Add", [level, addSlope(build, weight, quotient)]);
}

/** 0, with the derivative 1 between the first and the last level: rounded to the nearest integer, what is below 1/2 is 0. */
function addSlope(build: Builder, weight: LearnedWeight, quotient: string): string {
  const levels = levelsOf(weight);
  const ends = [levels[0], levels[levels.length - 1]];
  const factor = 0.4 / Math.max(...ends.map(Math.abs), 1e-9);
  const between = build.node("Clip", [quotient, ...ends.map((end) => build.scalar(end, quotient))]);
  const rounded = straightRound(build, build.node("Mul", [between, build.scalar(factor, quotient)]));
  return build.node("Div", [rounded, build.scalar(factor, quotient)]);
}
