// Convolutions as products with matrices of patches, one sample and group at a time.
import { assert } from "../ir/errors.ts";
import { sizeOf, toNumbers } from "../ir/tensor.ts";
import { numbersAttribute } from "../ops/attributes.ts";
import { convolutionWindow, groupOf, transposedConvolution } from "../ops/convolution-shape.ts";
import { givenWindow, type Window, windowOutput } from "../ops/window.ts";
import { float64Of, fromFloat64 } from "./float64.ts";
import type { Kernel } from "./kernel.ts";
import { addProduct, transposed } from "./matrix.ts";
import { type Geometry, gatherPatches, geometryOf, listRuns, scatterPatches } from "./patches.ts";

interface Sizes {
  readonly batch: number;
  readonly group: number;
  /** Channels of x in one group. */
  readonly inputs: number;
  /** Channels of y in one group. */
  readonly outputs: number;
  readonly geometry: Geometry;
}

function forward(x: Float64Array, w: Float64Array, bias: Float64Array | undefined, sizes: Sizes): Float64Array {
  const { batch, group, inputs, outputs, geometry } = sizes;
  const patchSize = inputs * geometry.kernelSize;
  const positions = geometry.outputSize;
  const y = new Float64Array(batch * group * outputs * positions);
  if (bias) addPerChannel(y, bias, positions);
  const patches = new Float64Array(positions * patchSize); // [position, channel, tap]
  const runs = listRuns(geometry);
  const windows = { channels: inputs, geometry, runs, layout: { tapStep: 1, positionStep: patchSize } };
  for (let part = 0; part < batch * group; part++) {
    gatherPatches(patches, { data: x, offset: part * inputs * geometry.inputSize }, windows);
    const weights = { data: w, offset: (part % group) * outputs * patchSize };
    const target = { data: y, offset: part * outputs * positions };
    addProduct(target, weights, { data: patches, offset: 0 }, { m: outputs, n: positions, k: patchSize });
  }
  return y;
}

function inputGradient(dy: Float64Array, w: Float64Array, sizes: Sizes): Float64Array {
  const { batch, group, inputs, outputs, geometry } = sizes;
  const patchSize = inputs * geometry.kernelSize;
  const positions = geometry.outputSize;
  const dx = new Float64Array(batch * group * inputs * geometry.inputSize);
  const weights = Array.from({ length: group }, (_, g) =>
    transposed({ data: w, offset: g * outputs * patchSize }, outputs, patchSize),
  );
  const patches = new Float64Array(patchSize * positions); // [channel, tap, position]
  const runs = listRuns(geometry);
  const windows = { channels: inputs, geometry, runs, layout: { tapStep: positions, positionStep: 1 } };
  for (let part = 0; part < batch * group; part++) {
    const gradient = transposed({ data: dy, offset: part * outputs * positions }, outputs, positions);
    patches.fill(0);
    addProduct({ data: patches, offset: 0 }, weights[part % group], gradient, {
      m: patchSize,
      n: positions,
      k: outputs,
    });
    scatterPatches({ data: dx, offset: part * inputs * geometry.inputSize }, patches, windows);
  }
  return dx;
}

/** dw of all output channels; `dy` may hold some of them only, `outputs` of them per group. */
function weightGradient(dy: Float64Array, x: Float64Array, sizes: Sizes): Float64Array {
  const { batch, group, inputs, outputs, geometry } = sizes;
  const patchSize = inputs * geometry.kernelSize;
  const positions = geometry.outputSize;
  const dw = new Float64Array(group * outputs * patchSize);
  const patches = new Float64Array(patchSize * positions); // [channel, tap, position]
  const runs = listRuns(geometry);
  const windows = { channels: inputs, geometry, runs, layout: { tapStep: positions, positionStep: 1 } };
  for (let part = 0; part < batch * group; part++) {
    gatherPatches(patches, { data: x, offset: part * inputs * geometry.inputSize }, windows);
    const target = { data: dw, offset: (part % group) * outputs * patchSize };
    const gradient = { data: dy, offset: part * outputs * positions };
    addProduct(target, gradient, { data: patches, offset: 0 }, { m: outputs, n: patchSize, k: positions });
  }
  return dw;
}

function sizesOf(window: Window, x: readonly number[], y: readonly number[], group: number): Sizes {
  return {
    batch: x[0],
    group,
    inputs: x[1] / group,
    outputs: y[1] / group,
    geometry: geometryOf(window, x.slice(2), y.slice(2)),
  };
}

const Conv: Kernel = ([x, w, bias], node) => {
  assert(x && w, "Conv without x or w");
  const window = convolutionWindow(node, x.shape, w.shape);
  const shape = [x.shape[0], w.shape[0], ...windowOutput(node, window, x.shape.slice(2))];
  const sizes = sizesOf(window, x.shape, shape, groupOf(node));
  const y = forward(float64Of(x, node), float64Of(w, node), bias && float64Of(bias, node), sizes);
  return [fromFloat64(x.dtype, shape, y, node)];
};

const ConvTranspose: Kernel = ([x, w, bias], node) => {
  assert(x && w, "ConvTranspose without x or w");
  const { window, spatial } = transposedConvolution(node, x.shape, w.shape);
  const group = groupOf(node);
  const shape = [x.shape[0], w.shape[1] * group, ...spatial];
  const y = inputGradient(float64Of(x, node), float64Of(w, node), sizesOf(window, shape, x.shape, group));
  if (bias) addPerChannel(y, float64Of(bias, node), sizeOf(spatial));
  return [fromFloat64(x.dtype, shape, y, node)];
};

function addPerChannel(y: Float64Array, bias: Float64Array, positions: number): void {
  for (let i = 0; i < y.length; i++) y[i] += bias[Math.floor(i / positions) % bias.length];
}

const ConvGradientInput: Kernel = ([dy, w], node) => {
  assert(dy && w, "ConvGradientInput without dy or w");
  const group = groupOf(node);
  const shape = [dy.shape[0], w.shape[1] * group, ...numbersAttribute(node, "spatial", [])];
  const sizes = sizesOf(convolutionWindow(node, shape, w.shape), shape, dy.shape, group);
  return [fromFloat64(dy.dtype, shape, inputGradient(float64Of(dy, node), float64Of(w, node), sizes), node)];
};

const ConvGradientWeight: Kernel = ([dy, x, rows], node) => {
  assert(dy && x, "ConvGradientWeight without dy or x");
  const group = groupOf(node);
  const window = givenWindow(node, numbersAttribute(node, "kernel_shape", []));
  const shape = [dy.shape[1], x.shape[1] / group, ...window.kernel];
  const sizes = sizesOf(window, x.shape, dy.shape, group);
  const xData = float64Of(x, node);
  const dyData = float64Of(dy, node);
  if (!rows) return [fromFloat64(dy.dtype, shape, weightGradient(dyData, xData, sizes), node)];
  const dw = selectedWeightGradient(dyData, xData, toNumbers(rows), sizes);
  return [fromFloat64(dy.dtype, [rows.data.length, ...shape.slice(1)], dw, node)];
};

/** Group by group, with the wanted channels of `dy` and the group's channels of x copied together. */
function selectedWeightGradient(
  dy: Float64Array,
  x: Float64Array,
  rows: readonly number[],
  sizes: Sizes,
): Float64Array {
  const { batch, group, inputs, outputs, geometry } = sizes;
  const patchSize = inputs * geometry.kernelSize;
  const dw = new Float64Array(rows.length * patchSize);
  for (let g = 0; g < group; g++) {
    const targets = rows.flatMap((row, i) => (Math.floor(row / outputs) === g ? [i] : []));
    if (targets.length === 0) continue;
    const channels = targets.map((i) => rows[i]);
    const mine = Array.from({ length: inputs }, (_, i) => g * inputs + i);
    const selected = takeChannels(dy, batch, group * outputs, geometry.outputSize, channels);
    const groupInput = group === 1 ? x : takeChannels(x, batch, group * inputs, geometry.inputSize, mine);
    const part = weightGradient(selected, groupInput, { batch, group: 1, inputs, outputs: channels.length, geometry });
    targets.forEach((target, i) => {
      dw.set(part.subarray(i * patchSize, (i + 1) * patchSize), target * patchSize);
    });
  }
  return dw;
}

function takeChannels(
  source: Float64Array,
  batch: number,
  channels: number,
  size: number,
  wanted: readonly number[],
): Float64Array {
  const result = new Float64Array(batch * wanted.length * size);
  for (let n = 0; n < batch; n++)
    wanted.forEach((channel, i) => {
      const from = (n * channels + channel) * size;
      result.set(source.subarray(from, from + size), (n * wanted.length + i) * size);
    });
  return result;
}

export const convolutionKernels = {
  Conv,
  ConvTranspose,
  ConvGradientInput,
  ConvGradientWeight,
} satisfies Record<string, Kernel>;
