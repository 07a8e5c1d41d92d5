// What a kind of variable must say for weights to learn by it.
import type { Builder } from "../ir/builder.ts";
import type { DType } from "../ir/dtype.ts";
import { sizeOf, type Tensor, tensor, tensorOf } from "../ir/tensor.ts";
import type { Bounds, Quantizer } from "../quantizers/quantizer.ts";
import type { RoundedWeights } from "../rounding/soft-rounding.ts";

/** A weight that learns which integers it becomes. */
export interface LearnedWeight {
  readonly quantizer: Quantizer;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** The weight as it was. */
  readonly start: Tensor;
  readonly weights: RoundedWeights;
  /** Its lowest and highest integer. */
  readonly bounds: Bounds;
  /** The quantizer's as they were; zero points are absent around zero. */
  readonly scales: Tensor;
  readonly zeroPoints: Tensor | undefined;
  /** Which of the scales each element has. */
  readonly scaleOf: Int32Array;
  readonly rowAxis: number;
  /** Of a convolution: the axis of its input channels. */
  readonly inputAxis: number | undefined;
  /** By element, 1 where it learns and 0 where it is rounded to nearest; absent: all learn. */
  readonly learns: Float64Array | undefined;
  readonly trainsScale: boolean;
  /** What becomes of a scale in the file. */
  readonly storedScale: (scale: number) => number;
  /** What scales that train themselves are kept at or above. */
  readonly leastScale: number;
  /** The constant of a soft unit that holds the variable with an element for each weight. */
  readonly variable: string;
}

/** A constant of a soft unit that trains. */
export interface LearnedParameter {
  readonly name: string;
  readonly start: Tensor;
  /** Which learning rate it has. */
  readonly rate: "rounding" | "scale";
  /** Whether the regularizer drives its offsets to 0 or 1. */
  readonly isPulled?: boolean;
  /** What it is kept within after each step. */
  readonly bounds?: readonly [low: number, high: number];
  /** Whether it is a scale, which stays positive, and at or above `least`. */
  readonly isScale?: boolean;
  readonly least?: number;
}

/** What a weight became. */
interface HardWeight {
  readonly integers: Float64Array;
  /** Where they are no longer those that the quantizer had, in the order that it has them in. */
  readonly scales?: Float64Array;
  readonly zeroPoints?: Float64Array;
  readonly levels?: Float64Array;
}

/** The numbers of a parameter after training, by its name. */
type Trained = (name: string) => Float64Array;

export interface WeightVariable {
  readonly parameters: (weight: LearnedWeight) => readonly LearnedParameter[];
  /** Adds the weight as it trains; the parameters are constants of the graph by then. */
  readonly add: (build: Builder, weight: LearnedWeight) => string;
  readonly harden: (weight: LearnedWeight, trained: Trained) => HardWeight;
}

/** A constant with an element for each weight. */
export const elementwise = (build: Builder, { dtype, shape, quantizer }: LearnedWeight, what: string) => {
  return (values: Float64Array): string =>
    build.constant(tensorOf(dtype, shape, values), `${quantizer.output}/${what}`);
};

/** One of the values that lie as the scales do, for each element. */
export function spread(build: Builder, { shape, scaleOf, scales, quantizer }: LearnedWeight, value: string): string {
  if (sizeOf(scales.shape) === 1) return value;
  const flat = build.node("Reshape", [value, build.ints([-1])]);
  const places = tensor("int64", shape, BigInt64Array.from(scaleOf, BigInt));
  return build.node("Gather", [flat, build.constant(places, `${quantizer.output}/places:${value}`)], { axis: 0 });
}

/** The parameter behind its weight's name: `conv1.weight_quantized/scale`. */
export const parameterOf = ({ quantizer }: LearnedWeight, what: string): string => `${quantizer.output}/${what}`;
