// A dataset whose samples are in memory as tensors.
import { isFloat } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { widenTensor } from "../ir/half.ts";
import type { Tensor } from "../ir/tensor.ts";
import { allocate, castTensor, copyTensor, sizeOf, tensor } from "../ir/tensor.ts";
import { moveSamplesFrom } from "./batch-axis.ts";
import type { Dataset, InputType } from "./dataset.ts";
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
 * does. A scalar belongs to every sample. Labels: whole numbers of shape [samples] are class indices; floats of any shape are what
 * the model's output should be. Samples of three axes in bytes are taken as images, and in floats where there is only one such
 * input. Throws BAD_DATA where numbers of samples differ or are 0, or labels are neither. Half precision becomes float32.
 *
 * @example
 * const pixels = tensor("uint8", [500, 3, 32, 32], bytes);
 * const dataset = memoryDataset("mine", new Map([["image", pixels]]), tensor("int64", [500], labels));
 */
export function memoryDataset(name: string, inputs: ReadonlyMap<string, Tensor>, labels?: Tensor): Dataset {
  const length = checkedCount(name, inputs, labels);
  const values = new Map([...inputs].map(([input, value]) => [input, rowsFirst(widenTensor(value), length)]));
  const target = labels && isFloat(labels.dtype) ? castTensor(widenTensor(labels), "float32") : undefined;
  const classes = labels && !target ? classIndices(name, labels) : undefined;
  const types = new Map([...values].map(([input, value]) => [input, inputType(value)]));
  return {
    name,
    length,
    inputs: withPictures(types, guessPictures(types)),
    hasLabels: classes !== undefined,
    ...(target && { target: { dtype: target.dtype, shape: target.shape.slice(1) } }),
    read: (indices) => ({
      inputs: new Map([...values].map(([input, value]) => [input, takeSamples(value, indices)])),
      ...(classes && { labels: takeRows(classes, indices) }),
      ...(target && { target: takeRows(target, indices) }),
    }),
  };
}

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

function classIndices(name: string, labels: Tensor): Tensor {
  const flat = labels.shape.length === 2 && labels.shape[1] === 1;
  if ((labels.shape.length !== 1 && !flat) || !/^u?int/.test(labels.dtype)) {
    throw new FrostbitError(
      "BAD_DATA",
      `${name}: labels are ${labels.dtype} [${labels.shape.join(", ")}]; expected class indices, whole numbers of shape [samples], or floats that the model's output should be.`,
    );
  }
  checkInRange(name, labels);
  return { ...castTensor(labels, "int64"), shape: [labels.shape[0]] };
}

/** More classes than any output has elements for; beyond it, 64-bit labels would also be rounded. */
const maxClasses = 2 ** 31;

function checkInRange(name: string, { dtype, data }: Tensor): void {
  for (let sample = 0; sample < data.length; sample++)
    if (!(data[sample] >= 0 && data[sample] < maxClasses))
      throw new FrostbitError(
        "BAD_DATA",
        `${name}: label ${data[sample]} (sample ${sample}, ${dtype}) is out of range; class indices are 0 to ${maxClasses - 1}.`,
      );
}
