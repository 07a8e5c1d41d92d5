// Rounded to nearest behind an offset that learns by straight-through gradients, within a range that stays or learns too (SignRound,
// arXiv:2309.05516). With a range that stays, the offset is the weight's own motion in units of its scale.
import type { Builder } from "../ir/builder.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { clampTo, quotientOf } from "../rounding/grid.ts";
import { straightRound } from "./straight-round.ts";
import { elementwise, type LearnedWeight, parameterOf, spread, type WeightVariable } from "./weight-variable.ts";

/** What each end of a range may be multiplied by. */
const rangeFactors = [0.5, 1.5] as const;

const lowName = (weight: LearnedWeight): string => parameterOf(weight, "low");
const highName = (weight: LearnedWeight): string => parameterOf(weight, "high");

/** The values that a weight's lowest and highest integer stand for, by scale. */
function endsOf({ weights: { grid }, scales, zeroPoints }: LearnedWeight): { low: Float64Array; high: Float64Array } {
  const steps = numbersOf(scales);
  const zeros = zeroPoints && numbersOf(zeroPoints);
  const end = (bound: number): Float64Array =>
    Float64Array.from(steps, (scale, i) => (bound - (zeros ? zeros[zeros.length === 1 ? 0 : i] : 0)) * scale);
  return { low: end(grid.low), high: end(grid.high) };
}

const ones = ({ scales: { dtype, shape } }: LearnedWeight): Tensor =>
  tensorOf(dtype, shape, new Float64Array(sizeOf(shape)).fill(1));

export const offsetWeight: WeightVariable = {
  parameters: (weight) => {
    const { dtype, shape, variable, trainsScale, zeroPoints } = weight;
    const start = tensorOf(dtype, shape, new Float64Array(sizeOf(shape)));
    const offset = { name: variable, start, rate: "rounding" } as const;
    const factor = (name: string) => ({ name, start: ones(weight), rate: "scale", bounds: rangeFactors }) as const;
    if (!trainsScale) return [offset];
    return zeroPoints
      ? [offset, factor(lowName(weight)), factor(highName(weight))]
      : [offset, factor(highName(weight))];
  },

  add: (build, weight) => {
    const { scale, zeroPoint } = addGrid(build, weight);
    const { quotients, grid } = weight.weights;
    const given = (values: Float64Array, what: string): string => elementwise(build, weight, what)(values);
    const quotient = weight.trainsScale
      ? build.node("Div", [
          given(
            quotients.map((value, i) => value * grid.scale[i]),
            "weight",
          ),
          scale,
        ])
      : given(quotients, "quotients");
    const offset = weight.learns
      ? build.node("Mul", [weight.variable, given(weight.learns, "learns")])
      : weight.variable;
    const rounded = straightRound(build, build.node("Add", [quotient, offset]));
    const [low, high] = [grid.low, grid.high].map((bound) => build.scalar(bound, rounded));
    const shifted = zeroPoint ? build.node("Add", [rounded, zeroPoint]) : rounded;
    const clipped = build.node("Clip", [shifted, low, high]);
    return build.node("Mul", [zeroPoint ? build.node("Sub", [clipped, zeroPoint]) : clipped, scale]);
  },

  harden: (weight, trained) => {
    const { weights, learns, scaleOf, variable, dtype, trainsScale } = weight;
    const { quotients, grid } = weights;
    const moved = trained(variable).map((offset, i) => offset * (learns?.[i] ?? 1));
    if (!trainsScale)
      return {
        integers: quotients.map((quotient, i) =>
          clampTo(grid, roundHalfToEven(quotient + moved[i]) + grid.zeroPoint[i]),
        ),
      };
    const { scales, zeroPoints } = hardGrid(weight, trained);
    const integers = quotients.map((quotient, i) => {
      const at = scaleOf[i];
      const within = quotientOf(dtype, quotient * grid.scale[i], scales[at]);
      return clampTo(grid, roundHalfToEven(within + moved[i]) + zeroPoints[at]);
    });
    return weight.zeroPoints ? { integers, scales, zeroPoints } : { integers, scales };
  },
};

/** s' = (high · a − low · c) / (n − m) and z' = R(m − low · c / s') of the integers m to n, for each element. */
function addGrid(build: Builder, weight: LearnedWeight): { readonly scale: string; readonly zeroPoint?: string } {
  const { weights, scales, zeroPoints, trainsScale } = weight;
  const { grid } = weights;
  if (!trainsScale) {
    const scale = elementwise(build, weight, "scale")(grid.scale);
    return zeroPoints ? { scale, zeroPoint: elementwise(build, weight, "zeroPoint")(grid.zeroPoint) } : { scale };
  }
  const ends = endsOf(weight);
  const end = (values: Float64Array, factor: string): string =>
    build.node("Mul", [build.constant(tensorOf(scales.dtype, scales.shape, values), `${factor}_end`), factor]);
  const high = end(ends.high, highName(weight));
  const divided = (value: string, by: number): string => build.node("Div", [value, build.scalar(by, value)]);
  if (!zeroPoints) return { scale: spread(build, weight, divided(high, grid.high)) };
  const low = end(ends.low, lowName(weight));
  const scale = divided(build.node("Sub", [high, low]), grid.high - grid.low);
  const below = build.node("Sub", [build.scalar(grid.low, low), build.node("Div", [low, scale])]);
  const zeroPoint = straightRound(build, below);
  return { scale: spread(build, weight, scale), zeroPoint: spread(build, weight, zeroPoint) };
}

/** By scale, as the graph computes them. */
function hardGrid(
  weight: LearnedWeight,
  trained: Parameters<WeightVariable["harden"]>[1],
): { readonly scales: Float64Array; readonly zeroPoints: Float64Array } {
  const { weights, zeroPoints, storedScale: stored } = weight;
  const { low, high } = weights.grid;
  const ends = endsOf(weight);
  const highs = trained(highName(weight)).map((factor, i) => factor * ends.high[i]);
  if (!zeroPoints)
    return { scales: highs.map((end) => stored(end / high)), zeroPoints: new Float64Array(highs.length) };
  const lows = trained(lowName(weight)).map((factor, i) => factor * ends.low[i]);
  const steps = highs.map((end, i) => stored((end - lows[i]) / (high - low)));
  const zeros = steps.map((step, i) => clampTo(weights.grid, roundHalfToEven(low - lows[i] / step)));
  return { scales: steps, zeroPoints: zeros };
}
