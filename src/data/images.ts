// Turns stored images into float tensors: preprocessing, layout and augmentation in one pass over the pixels.
import type { NumberArray } from "../ir/dtype.ts";
import type { Tensor } from "../ir/tensor.ts";
import { numbersOf, sizeOf } from "../ir/tensor.ts";
import { noShift, type Shift } from "./augment.ts";
import type { InputType, Layout } from "./dataset.ts";
import { type ChannelMap, channelMaps, type Preprocess, placeOfChannel } from "./preprocess.ts";

/** Sizes of an image and the distances in memory between neighbours along each axis. */
interface Grid {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly channelStride: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

function gridOf(channels: number, height: number, width: number, layout: Layout): Grid {
  return layout === "nchw"
    ? { channels, height, width, channelStride: height * width, rowStride: width, columnStride: 1 }
    : { channels, height, width, channelStride: 1, rowStride: width * channels, columnStride: channels };
}

const gridOfInput = ({ shape, layout }: InputType): Grid =>
  layout === "nhwc" ? gridOf(shape[2], shape[0], shape[1], "nhwc") : gridOf(shape[0], shape[1], shape[2], "nchw");

const shapeOf = (grid: Grid, layout: Layout): readonly number[] =>
  layout === "nchw" ? [grid.channels, grid.height, grid.width] : [grid.height, grid.width, grid.channels];

/** The shape of one sample after preprocessing. */
export const preparedShape = (type: InputType, preprocess: Preprocess): readonly number[] =>
  type.layout === undefined ? type.shape : shapeOf(gridOfInput(type), preprocess.layout);

/** All 256 results of a channel's map. */
const table = ({ factor, offset }: ChannelMap): Float32Array =>
  Float32Array.from({ length: 256 }, (_, x) => x * factor + offset);

/** Prepares batches of one image input: [samples, ...stored shape] to float32 [samples, ...prepared shape]. */
export function imagePreparer(
  type: InputType,
  preprocess: Preprocess,
): (images: Tensor, shifts: (row: number) => Shift) => Tensor {
  const from = gridOfInput(type);
  const to = gridOf(from.channels, from.height, from.width, preprocess.layout);
  const placeOf = placeOfChannel(preprocess, from.channels);
  const wanted = channelMaps(preprocess, from.channels);
  const maps = wanted.map((_, channel) => wanted[placeOf(channel)]);
  const tables = type.dtype === "uint8" ? maps.map(table) : undefined;
  const size = sizeOf(type.shape);
  return (images, shifts) => {
    const samples = images.shape[0];
    const source = numbersOf(images);
    const target = new Float32Array(samples * size);
    for (let row = 0; row < samples; row++) {
      const shift = shifts(row);
      for (let channel = 0; channel < from.channels; channel++) {
        const lines = {
          source,
          target,
          from,
          to,
          sourceStart: row * size + channel * from.channelStride,
          targetStart: row * size + placeOf(channel) * to.channelStride,
        };
        if (shift.down !== 0 || shift.right !== 0) fillPlane(lines, maps[channel].offset);
        if (tables) copyPlane(lines, shift, tables[channel]);
        else mapPlane(lines, shift, maps[channel]);
      }
    }
    return { dtype: "float32", shape: [samples, ...shapeOf(from, preprocess.layout)], data: target };
  };
}

interface Plane {
  readonly source: NumberArray;
  readonly target: Float32Array;
  readonly from: Grid;
  readonly to: Grid;
  readonly sourceStart: number;
  readonly targetStart: number;
}

/** Calls `line` for each target row that an image row moves to, with where both start, the step through the source, and the columns covered. */
function eachLine(
  { from, to, sourceStart, targetStart }: Plane,
  { down, right, mirrored }: Shift,
  line: (source: number, sourceStep: number, target: number, count: number) => void,
): void {
  const firstRow = Math.max(0, down);
  const lastRow = Math.min(from.height, from.height + down);
  const first = Math.max(0, right);
  const count = from.width - Math.abs(right);
  const column = first - right;
  const sourceColumn = mirrored ? from.width - 1 - column : column;
  const step = mirrored ? -from.columnStride : from.columnStride;
  for (let row = firstRow; row < lastRow; row++) {
    line(
      sourceStart + (row - down) * from.rowStride + sourceColumn * from.columnStride,
      step,
      targetStart + row * to.rowStride + first * to.columnStride,
      count,
    );
  }
}

/** What moves in from outside is black: a stored 0, as the usual crop pads images before they are normalized. */
function fillPlane({ target, to, targetStart }: Plane, black: number): void {
  for (let row = 0; row < to.height; row++)
    for (let column = 0; column < to.width; column++)
      target[targetStart + row * to.rowStride + column * to.columnStride] = black;
}

function copyPlane(plane: Plane, shift: Shift, values: Float32Array): void {
  const { source, target } = plane;
  const targetStep = plane.to.columnStride;
  eachLine(plane, shift, (start, step, targetStart, count) => {
    let from = start;
    let to = targetStart;
    for (let i = 0; i < count; i++) {
      target[to] = values[source[from]];
      from += step;
      to += targetStep;
    }
  });
}

function mapPlane(plane: Plane, shift: Shift, { factor, offset }: ChannelMap): void {
  const { source, target } = plane;
  const targetStep = plane.to.columnStride;
  eachLine(plane, shift, (start, step, targetStart, count) => {
    let from = start;
    let to = targetStart;
    for (let i = 0; i < count; i++) {
      target[to] = source[from] * factor + offset;
      from += step;
      to += targetStep;
    }
  });
}

export const unshifted = (): Shift => noShift;
