// A dataset whose samples lie in memory as tensors.
import { isFloat } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { widenTensor } from "../ir/half.ts";
import type { Tensor } from "../ir/tensor.ts";
import { allocate, castTensor, sizeOf, tensor } from "../ir/tensor.ts";
import type { Dataset, InputType, Layout } from "./dataset.ts";

/** The rows of a tensor at these indices along axis 0. */
export function takeRows(source: Tensor, indices: Int32Array): Tensor {
  const shape = source.shape.slice(1);
  const size = sizeOf(shape);
  const data = allocate(source.dtype, indices.length * size);
  for (let row = 0; row < indices.length; row++) {
    const from = indices[row] * size;
    data.set(source.data.subarray(from, from + size) as never, row * size);
  }
  return tensor(source.dtype, [indices.length, ...shape], data);
}

const channelCounts: readonly number[] = [1, 3, 4];

/** Samples of rank 3 are images, channels first unless only the last axis can be one of channels (1, 3 or 4). */
export function guessLayout(shape: readonly number[]): Layout | undefined {
  if (shape.length !== 3) return undefined;
  return channelCounts.includes(shape[2]) && !channelCounts.includes(shape[0]) ? "nhwc" : "nchw";
}

function inputType({ dtype, shape }: Tensor): InputType {
  const layout =
    dtype === "uint8" || dtype === "float32" || dtype === "float64" ? guessLayout(shape.slice(1)) : undefined;
  return { dtype, shape: shape.slice(1), ...(layout && { layout }) };
}

/**
 * A dataset of tensors whose first axis counts the samples. Labels: whole numbers of shape [samples] are class indices;
 * floats of any shape are what the model's output should be. Samples of rank 3 in bytes or floats are taken as images. Throws
 * BAD_DATA where first axes differ or are 0, or labels are neither. Half precision becomes float32.
 *
 * @example
 * const pixels = tensor("uint8", [500, 3, 32, 32], bytes);
 * const dataset = memoryDataset("mine", new Map([["image", pixels]]), tensor("int64", [500], labels));
 */
export function memoryDataset(name: string, inputs: ReadonlyMap<string, Tensor>, labels?: Tensor): Dataset {
  const all = [...inputs, ...(labels ? [["labels", labels] as const] : [])];
  const [firstName, first] = all[0];
  for (const [other, { shape }] of all) {
    if (shape.length === 0)
      throw new FrostbitError("BAD_DATA", `${name}: "${other}" is a scalar; expected samples along axis 0.`);
    if (shape[0] !== first.shape[0])
      throw new FrostbitError(
        "BAD_DATA",
        `${name}: "${firstName}" has ${first.shape[0]} samples, "${other}" has ${shape[0]}; the first axes must agree.`,
      );
  }
  if (first.shape[0] === 0)
    throw new FrostbitError("BAD_DATA", `${name} has no samples: "${firstName}" is [${first.shape.join(", ")}].`);
  const values = new Map([...inputs].map(([input, value]) => [input, widenTensor(value)]));
  const target = labels && isFloat(labels.dtype) ? castTensor(widenTensor(labels), "float32") : undefined;
  const classes = labels && !target ? classIndices(name, labels) : undefined;
  return {
    name,
    length: first.shape[0],
    inputs: new Map([...values].map(([input, value]) => [input, inputType(value)])),
    hasLabels: classes !== undefined,
    ...(target && { target: { dtype: target.dtype, shape: target.shape.slice(1) } }),
    read: (indices) => ({
      inputs: new Map([...values].map(([input, value]) => [input, takeRows(value, indices)])),
      ...(classes && { labels: takeRows(classes, indices) }),
      ...(target && { target: takeRows(target, indices) }),
    }),
  };
}

function classIndices(name: string, labels: Tensor): Tensor {
  const flat = labels.shape.length === 2 && labels.shape[1] === 1;
  if ((labels.shape.length !== 1 && !flat) || !/^u?int/.test(labels.dtype)) {
    throw new FrostbitError(
      "BAD_DATA",
      `${name}: labels are ${labels.dtype} [${labels.shape.join(", ")}]; expected class indices, whole numbers of shape [samples], or floats that the model's output should be.`,
    );
  }
  return { ...castTensor(labels, "int64"), shape: [labels.shape[0]] };
}
