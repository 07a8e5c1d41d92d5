// Kernel of Resize: one interpolation matrix after the other.
import { type Tensor, toNumbers } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { checkResize, type Interpolation, interpolate, type ResizeAxis, resizePlan } from "../ops/interpolation.ts";
import { aroundAxis, required } from "./index-maps.ts";
import type { Kernel } from "./kernel.ts";
import { asNumbers, fromNumbers } from "./numbers.ts";

interface Values {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

/** Matrix · x along one axis. */
function product({ shape, data }: Values, { axis, inputSize, outputSize }: ResizeAxis, matrix: Float64Array): Values {
  const { outer, inner } = aroundAxis(shape, axis);
  const result = new Float64Array(outer * outputSize * inner);
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < outputSize; i++)
      for (let k = 0; k < inputSize; k++) {
        const weight = matrix[i * inputSize + k];
        if (weight === 0) continue;
        const [to, from] = [(o * outputSize + i) * inner, (o * inputSize + k) * inner];
        for (let j = 0; j < inner; j++) result[to + j] += weight * data[from + j];
      }
  return { shape: shape.with(axis, outputSize), data: result };
}

/** Adds `value` at the coordinates of one axis that are outside the input. */
function fillOutside({ shape, data }: Values, axis: number, isOutside: readonly boolean[], value: number): Values {
  const { size, inner } = aroundAxis(shape, axis);
  return { shape, data: Float64Array.from(data, (x, i) => (isOutside[Math.floor(i / inner) % size] ? value : x)) };
}

const contents = (input: Tensor | undefined): number[] | undefined => input && toNumbers(input);

const resize: Kernel = (inputs, node) => {
  checkResize(node);
  const x = required(inputs, 0);
  const plan = resizePlan(node, x.shape, {
    roi: contents(inputs[1]),
    scales: contents(inputs[2]),
    sizes: contents(inputs[3]),
  });
  const steps = plan.map((axis): { axis: ResizeAxis; by: Interpolation } => ({ axis, by: interpolate(node, axis) }));
  const start: Values = { shape: x.shape, data: asNumbers(x) };
  const resized = steps.reduce((values, { axis, by }) => product(values, axis, by.matrix), start);
  const outside = numberAttribute(node, "extrapolation_value", 0);
  const filled = steps
    .filter(({ by }) => by.isOutside.includes(true))
    .reduce((values, { axis, by }) => fillOutside(values, axis.axis, by.isOutside, outside), resized);
  return [fromNumbers(x.dtype, filled.shape, filled.data)];
};

export const resizeKernels = { Resize: resize } satisfies Record<string, Kernel>;
