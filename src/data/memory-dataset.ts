// A dataset whose samples are in memory as tensors.
import { FrostbitError } from "../ir/errors.ts";
import { widenTensor } from "../ir/half.ts";
import type { Tensor } from "../ir/tensor.ts";
import { allocate, castTensor, copyTensor, sizeOf, tensor } from "../ir/tensor.ts";
import { moveSamplesFrom } from "./batch-axis.ts";
import type { Dataset, InputType } from "./dataset.ts";
import { describeLabels } from "./labels.ts";
import { lengthsByMask } from "./lengths.ts";
import { guessPictures, withPictures } from "./pictures.ts";

/** The rows of a tensor at these indices along axis 0. */
function takeRows(source: Tensor, indices: Int32Array): Tensor {
  const shape = source.shape.slice(1);
  const size = sizeOf(shape);
  const data = allocate(source.dtype, indices.length * size);
  for (let row = 0; row < indices.length; row++) {
    const from = indices[row] * size;
    data.set(source.data.subarray(from, from + size) as never, row * size);
  }
  return tensor(source.dtype, [indices.length, ...shape], data);
}

/** Of one sample, without pictures' layouts. */
const inputType = ({ dtype, shape }: Tensor): InputType => ({ dtype, shape: shape.slice(1) });

/** How many samples there are: by the labels, or else by the first size that is one of all arrays. */
function sampleCount(inputs: ReadonlyMap<string, Tensor>, labels: Tensor | undefined): number | undefined {
  if (labels) return labels.shape[0];
  const shapes = [...inputs.values()].map(({ shape }) => shape).filter((shape) => shape.length > 0);
  const counts = shapes.map(([first]) => first);
  return counts.find((count) => shapes.every((shape) => samplesAxis(shape, count) !== undefined)) ?? counts[0];
}

/** Where an array has its samples: the first axis, or the only one of as many. */
function samplesAxis(shape: readonly number[], count: number): number | undefined {
  const axes = shape.flatMap((size, axis) => (size === count ? [axis] : []));
  return axes[0] === 0 || axes.length === 1 ? axes[0] : undefined;
}

/**
 * A dataset of tensors whose first axis counts the samples; where another axis alone has as many, as in recurrent states, that one
 * does. A scalar belongs to every sample. Labels of whole numbers are class indices, one a sample or one a position; floats are
 * what the model's output should be; where both are possible, the output decides. Samples of three axes in bytes are taken as
 * images, and in floats where there is only one such input. An input "attention_mask" of ones, and zeros behind them, says how long
 * samples are. Throws BAD_DATA where numbers of samples differ or are 0. Half
 * precision becomes float32.
 *
 * @example
 * const pixels = tensor("uint8", [500, 3, 32, 32], bytes);
 * const dataset = memoryDataset("mine", new Map([["image", pixels]]), tensor("int64", [500], labels));
 */
export function memoryDataset(name: string, inputs: ReadonlyMap<string, Tensor>, labels?: Tensor): Dataset {
  const length = checkedCount(name, inputs, labels);
  const values = new Map([...inputs].map(([input, value]) => [input, rowsFirst(widenTensor(value), length)]));
  const given = labels && widenTensor(labels);
  const facts = given && describeLabels(given);
  const areClasses = facts !== undefined && facts.notClasses === undefined;
  const types = new Map([...values].map(([input, value]) => [input, inputType(value)]));
  const lengths = lengthsByMask(values);
  return {
    name,
    length,
    inputs: withPictures(types, guessPictures(types)),
    hasLabels: areClasses,
    ...(facts && areClasses && { labelShape: facts.shape }),
    ...(facts?.values && { labelValues: facts.values }),
    ...(facts?.notClasses !== undefined && { notClasses: facts.notClasses }),
    ...(given && facts?.isTarget && { target: { dtype: "float32", shape: given.shape.slice(1) } }),
    ...(lengths && { lengths }),
    read: (indices) => ({
      inputs: new Map([...values].map(([input, value]) => [input, takeSamples(value, indices)])),
      ...(given && areClasses && { labels: classIndices(takeRows(given, indices), facts.shape) }),
      ...(given && facts?.isTarget && { target: castTensor(takeRows(given, indices), "float32") }),
    }),
  };
}

const classIndices = (rows: Tensor, shape: readonly number[]): Tensor => ({
  ...castTensor(rows, "int64"),
  shape: [rows.shape[0], ...shape],
});

const takeSamples = (value: Tensor, indices: Int32Array): Tensor =>
  value.shape.length === 0 ? copyTensor(value) : takeRows(value, indices);

const rowsFirst = (value: Tensor, count: number): Tensor =>
  value.shape.length === 0 ? value : moveSamplesFrom(value, samplesAxis(value.shape, count) ?? 0);

const printShape = (shape: readonly number[]): string => `[${shape.join(", ")}]`;

/** How many samples all of them have. */
function checkedCount(name: string, inputs: ReadonlyMap<string, Tensor>, labels: Tensor | undefined): number {
  if (labels?.shape.length === 0)
    throw new FrostbitError("BAD_DATA", `${name}: the labels are a scalar; expected one of each sample.`);
  const count = sampleCount(inputs, labels);
  const [first] = [...inputs].find(([, { shape }]) => shape.length > 0) ?? [];
  if (count === undefined || first === undefined)
    throw new FrostbitError("BAD_DATA", `${name}: every input is a scalar; expected one with samples along axis 0.`);
  if (count === 0)
    throw new FrostbitError(
      "BAD_DATA",
      `${name} has no samples: "${first}" is ${printShape(inputs.get(first)?.shape ?? [])}.`,
    );
  for (const [other, { shape }] of inputs)
    if (shape.length > 0 && samplesAxis(shape, count) === undefined)
      throw new FrostbitError(
        "BAD_DATA",
        `${name}: "${labels ? "labels" : first}" has ${count} samples, "${other}" is ${printShape(shape)}; the first axes must agree, or another axis alone have ${count}.`,
      );
  return count;
}
