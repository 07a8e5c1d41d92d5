// The quantizer itself trains: the weight, its scales and its zero points by the straight-through gradients of FakeQuantize
// (EfficientQAT's Block-AP, arXiv:2407.11062).
import type { Builder } from "../ir/builder.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, tensorOf } from "../ir/tensor.ts";
import { clampTo, quotientOf } from "../rounding/grid.ts";
import { elementwise, type LearnedWeight, parameterOf, type WeightVariable } from "./weight-variable.ts";

const scaleName = (weight: LearnedWeight): string => parameterOf(weight, "scale");
const zeroName = (weight: LearnedWeight): string => parameterOf(weight, "zero_point");

export const directWeight: WeightVariable = {
  parameters: (weight) => {
    const { variable, start, scales, zeroPoints, trainsScale, leastScale } = weight;
    const own = { name: variable, start, rate: "rounding" } as const;
    if (!trainsScale) return [own];
    const floored = tensorOf(
      scales.dtype,
      scales.shape,
      Array.from(numbersOf(scales), (scale) => Math.max(scale, leastScale)),
    );
    const scale = {
      name: scaleName(weight),
      start: floored,
      rate: "scale",
      isScale: true,
      least: leastScale,
    } as const;
    return zeroPoints ? [own, scale, { name: zeroName(weight), start: zeroPoints, rate: "scale" }] : [own, scale];
  },

  add: (build, weight) => {
    const { quantizer, trainsScale } = weight;
    const [, , , low, high] = quantizer.node.inputs;
    const grid = trainsScale
      ? [scaleName(weight), quantizer.zeroPoint && zeroName(weight)]
      : [quantizer.scale, quantizer.zeroPoint];
    return build.node("FakeQuantize", [moving(build, weight), ...grid, low, high], quantizer.node.attributes);
  },

  harden: (weight, trained) => {
    const { bounds, start, learns, scaleOf, trainsScale, dtype, zeroPoints, storedScale } = weight;
    const still = numbersOf(start);
    const moved = trained(weight.variable);
    const scales = trainsScale
      ? trained(scaleName(weight)).map(storedScale)
      : Float64Array.from(numbersOf(weight.scales));
    const given = zeroPoints && (trainsScale ? trained(zeroName(weight)) : Float64Array.from(numbersOf(zeroPoints)));
    const zeros = given?.map((zero) => clampTo(bounds, roundHalfToEven(zero)));
    const zeroOf = (at: number): number => zeros?.[zeros.length === 1 ? 0 : at] ?? 0;
    const integers = new Float64Array(moved.length);
    for (let i = 0; i < integers.length; i++) {
      const quotient = quotientOf(dtype, learns?.[i] === 0 ? still[i] : moved[i], scales[scaleOf[i]]);
      integers[i] = clampTo(bounds, roundHalfToEven(quotient) + zeroOf(scaleOf[i]));
    }
    if (!trainsScale) return { integers };
    return zeros ? { integers, scales, zeroPoints: zeros } : { integers, scales };
  },
};

/** The weights that learn as they move, the others as they are. */
function moving(build: Builder, weight: LearnedWeight): string {
  const { variable, learns, dtype, shape, start } = weight;
  if (!learns) return variable;
  const given = numbersOf(start);
  const still = Float64Array.from(learns, (learning, i) => (1 - learning) * given[i]);
  const part = build.node("Mul", [variable, elementwise(build, weight, "learns")(learns)]);
  return build.node("Add", [part, build.constant(tensorOf(dtype, shape, still), `${variable}/still`)]);
}
