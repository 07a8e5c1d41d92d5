// Rounded to nearest after a division that learns (FlexRound, arXiv:2306.00317): moves grow with the weight's magnitude.
import type { Builder } from "../ir/builder.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, sizeOf, tensorOf } from "../ir/tensor.ts";
import { clampTo, dequantize } from "../rounding/grid.ts";
import { straightRound } from "./straight-round.ts";
import { elementwise, type LearnedWeight, parameterOf, spread, type WeightVariable } from "./weight-variable.ts";

const scaleName = (weight: LearnedWeight): string => parameterOf(weight, "log_scale");
const rowsName = (weight: LearnedWeight): string => parameterOf(weight, "rows");
const inputsName = (weight: LearnedWeight): string => parameterOf(weight, "inputs");

/** With ones for all axes but this one. */
const along = ({ shape }: LearnedWeight, axis: number): readonly number[] =>
  shape.map((size, i) => (i === axis ? size : 1));

const zerosOf = (weight: LearnedWeight, shape: readonly number[]) =>
  tensorOf(weight.dtype, shape, new Float64Array(sizeOf(shape)));

/** Ŵ = s1 · clip(R(W / exp(log s1 + S2 + s3 + s4)), n − z, p − z) */
export const divisorWeight: WeightVariable = {
  parameters: (weight) => {
    const { shape, variable, scales, rowAxis, inputAxis, trainsScale } = weight;
    const divisor = (name: string, of: readonly number[]) =>
      ({ name, start: zerosOf(weight, of), rate: "rounding" }) as const;
    const logs = Array.from(numbersOf(scales), Math.log);
    const logScale = {
      name: scaleName(weight),
      start: tensorOf(scales.dtype, scales.shape, logs),
      rate: "scale",
    } as const;
    return [
      divisor(variable, shape),
      divisor(rowsName(weight), along(weight, rowAxis)),
      ...(inputAxis === undefined ? [] : [divisor(inputsName(weight), along(weight, inputAxis))]),
      ...(trainsScale ? [logScale] : []),
    ];
  },

  add: (build, weight) => {
    const { weights, zeroPoints } = weight;
    const { grid } = weights;
    const given = (values: Float64Array, what: string): string => elementwise(build, weight, what)(values);
    const scale = addScale(build, weight);
    const divisor = build.node("Exp", [addDivisors(build, weight)]);
    const weighted = given(
      dequantize({ ...grid, zeroPoint: grid.zeroPoint.map(() => 0) }, weights.quotients),
      "weight",
    );
    const quotient = build.node("Div", [build.node("Div", [weighted, scale]), divisor]);
    const rounded = straightRound(build, quotient);
    const zeroPoint = zeroPoints && given(grid.zeroPoint, "zeroPoint");
    const shifted = zeroPoint ? build.node("Add", [rounded, zeroPoint]) : rounded;
    const [low, high] = [grid.low, grid.high].map((bound) => build.scalar(bound, shifted));
    const clipped = build.node("Clip", [shifted, low, high]);
    return build.node("Mul", [zeroPoint ? build.node("Sub", [clipped, zeroPoint]) : clipped, scale]);
  },

  harden: (weight, trained) => {
    const { weights, variable, learns, scaleOf, trainsScale, shape, rowAxis, inputAxis } = weight;
    const { quotients, grid } = weights;
    const own = trained(variable);
    const rows = trained(rowsName(weight));
    const inputs = inputAxis === undefined ? undefined : trained(inputsName(weight));
    const index = (i: number, axis: number): number => Math.floor(i / sizeOf(shape.slice(axis + 1))) % shape[axis];
    const steps = trainsScale ? trained(scaleName(weight)).map((log) => weight.storedScale(Math.exp(log))) : undefined;
    const integers = quotients.map((quotient, i) => {
      const learned =
        own[i] + rows[index(i, rowAxis)] + (inputs && inputAxis !== undefined ? inputs[index(i, inputAxis)] : 0);
      const log = learned * (learns?.[i] ?? 1);
      const within = steps ? (quotient * grid.scale[i]) / steps[scaleOf[i]] : quotient;
      return clampTo(grid, roundHalfToEven(within / Math.exp(log)) + grid.zeroPoint[i]);
    });
    return steps ? { integers, scales: steps } : { integers };
  },
};

/** s1 for each element. */
const addScale = (build: Builder, weight: LearnedWeight): string =>
  weight.trainsScale
    ? spread(build, weight, build.node("Exp", [scaleName(weight)]))
    : elementwise(build, weight, "scale")(weight.weights.grid.scale);

/** S2 + s3 + s4, of the weights that learn. */
function addDivisors(build: Builder, weight: LearnedWeight): string {
  const { variable, inputAxis, learns } = weight;
  const rows = build.node("Add", [variable, rowsName(weight)]);
  const all = inputAxis === undefined ? rows : build.node("Add", [rows, inputsName(weight)]);
  return learns ? build.node("Mul", [all, elementwise(build, weight, "learns")(learns)]) : all;
}
