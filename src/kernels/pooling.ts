// Pools, one channel and one tap of the window at a time.
import { assert } from "../ir/errors.ts";
import type { Node } from "../ir/graph.ts";
import { sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { numberAttribute, numbersAttribute } from "../ops/attributes.ts";
import { poolWindow } from "../ops/pool-shape.ts";
import { type Window, windowOutput } from "../ops/window.ts";
import { float64Of, fromFloat64 } from "./float64.ts";
import type { Kernel } from "./kernel.ts";
import { type Geometry, geometryOf, listRuns } from "./patches.ts";

interface Pool {
  readonly window: Window;
  /** Samples times channels. */
  readonly planes: number;
  readonly shape: readonly number[];
  readonly geometry: Geometry;
  readonly runs: Int32Array;
}

function poolOf(node: Node, x: readonly number[]): Pool {
  const window = poolWindow(node, x);
  const output = windowOutput(node, window, x.slice(2));
  const geometry = geometryOf(window, x.slice(2), output);
  return { window, planes: x[0] * x[1], shape: [x[0], x[1], ...output], geometry, runs: listRuns(geometry) };
}

/** Visits every pair of an output element and an input element of its window, tap by tap. */
function forEachPair({ planes, geometry, runs }: Pool, visit: (output: number, input: number) => void): void {
  for (let plane = 0; plane < planes; plane++)
    for (let r = 0; r < runs.length; r += 5) {
      let output = plane * geometry.outputSize + runs[r + 1];
      let input = plane * geometry.inputSize + runs[r + 2];
      for (let i = runs[r + 3]; i > 0; i--, output++, input += runs[r + 4]) visit(output, input);
    }
}

/** Where the first maximum of each window is in x. */
function maxima(pool: Pool, x: Float64Array): Float64Array {
  const indices = new Float64Array(sizeOf(pool.shape)).fill(-1);
  forEachPair(pool, (output, input) => {
    if (indices[output] < 0 || x[input] > x[indices[output]]) indices[output] = input;
  });
  return indices;
}

function maxPooled(x: Tensor, pool: Pool, node: Node): readonly Tensor[] {
  const data = float64Of(x, node);
  const indices = maxima(pool, data);
  const y = indices.map((input) => (input < 0 ? Number.NEGATIVE_INFINITY : data[input]));
  return [fromFloat64(x.dtype, pool.shape, y, node), tensorOf("int64", pool.shape, indices)];
}

const MaxPool: Kernel = ([x], node) => {
  assert(x, "MaxPool without x");
  return maxPooled(x, poolOf(node, x.shape), node);
};

/** How many elements each window counts. */
function counts({ window, geometry, shape }: Pool, spatial: readonly number[], includesPads: boolean): Float64Array {
  const axes = spatial.length;
  const padded = spatial.map((size, axis) => size + window.pads[axis] + window.pads[axis + axes]);
  const unpadded = { ...window, pads: window.pads.map(() => 0) };
  const counted = includesPads ? geometryOf(unpadded, padded, shape.slice(2)) : geometry;
  const result = new Float64Array(geometry.outputSize);
  const runs = listRuns(counted);
  forEachPair({ window, planes: 1, shape, geometry: counted, runs }, (output) => {
    result[output]++;
  });
  return result;
}

const includesPads = (node: Node): boolean => numberAttribute(node, "count_include_pad", 0) === 1;

const AveragePool: Kernel = ([x], node) => {
  assert(x, "AveragePool without x");
  const pool = poolOf(node, x.shape);
  const data = float64Of(x, node);
  const y = new Float64Array(sizeOf(pool.shape));
  forEachPair(pool, (output, input) => {
    y[output] += data[input];
  });
  const divisors = counts(pool, x.shape.slice(2), includesPads(node));
  for (let i = 0; i < y.length; i++) y[i] /= divisors[i % divisors.length];
  return [fromFloat64(x.dtype, pool.shape, y, node)];
};

/** The node as a pool whose window is all of x. */
const globally = (node: Node, x: Tensor): Node => ({ ...node, attributes: { kernel_shape: x.shape.slice(2) } });

const GlobalAveragePool: Kernel = ([x], node) => {
  assert(x, "GlobalAveragePool without x");
  return AveragePool([x], globally(node, x));
};

const GlobalMaxPool: Kernel = ([x], node) => {
  assert(x, "GlobalMaxPool without x");
  return [maxPooled(x, poolOf(globally(node, x), x.shape), node)[0]];
};

const MaxPoolGradient: Kernel = ([dy, x], node) => {
  assert(dy && x, "MaxPoolGradient without dy or x");
  const g = float64Of(dy, node);
  const dx = new Float64Array(x.data.length);
  maxima(poolOf(node, x.shape), float64Of(x, node)).forEach((input, output) => {
    if (input >= 0) dx[input] += g[output];
  });
  return [fromFloat64(x.dtype, x.shape, dx, node)];
};

const AveragePoolGradient: Kernel = ([dy], node) => {
  assert(dy, "AveragePoolGradient without dy");
  const spatial = numbersAttribute(node, "spatial", []);
  const shape = [...dy.shape.slice(0, 2), ...spatial];
  const pool = poolOf(node, shape);
  const divisors = counts(pool, spatial, includesPads(node));
  const g = float64Of(dy, node);
  const dx = new Float64Array(sizeOf(shape));
  forEachPair(pool, (output, input) => {
    dx[input] += g[output] / divisors[output % divisors.length];
  });
  return [fromFloat64(dy.dtype, shape, dx, node)];
};

export const poolingKernels = {
  MaxPool,
  AveragePool,
  GlobalAveragePool,
  GlobalMaxPool,
  MaxPoolGradient,
  AveragePoolGradient,
} satisfies Record<string, Kernel>;
