// The sums that a batch adds to a layer's second moments, as nodes of a graph: sampled positions, their patches, and two products.
import type { Builder } from "../ir/builder.ts";
import type { Node } from "../ir/graph.ts";
import { sizeOf } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { convolutionWindow } from "../ops/convolution-shape.ts";
import type { Window } from "../ops/window.ts";
import type { MatrixForm } from "./matrix-form.ts";

/** Where a convolution's output positions read a padded input, both counted within one channel. */
export interface PatchPlaces {
  readonly window: Window;
  /** Spatial sizes of the padded input. */
  readonly padded: readonly number[];
  /** Spatial sizes of the output. */
  readonly output: readonly number[];
}

export function patchPlaces(
  node: Node,
  x: readonly number[],
  weight: readonly number[],
  y: readonly number[],
): PatchPlaces {
  const window = convolutionWindow(node, x, weight);
  const axes = window.kernel.length;
  const padded = x.slice(2).map((size, axis) => size + window.pads[axis] + window.pads[axis + axes]);
  return { window, padded, output: y.slice(2) };
}

const coordinates = (index: number, sizes: readonly number[]): number[] => {
  const result: number[] = [];
  let rest = index;
  for (const size of sizes.toReversed()) {
    result.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return result;
};

const flat = (at: readonly number[], sizes: readonly number[]): number =>
  at.reduce((index, value, axis) => index * sizes[axis] + value, 0);

/** For each element of the kernel, where it lies at each of these output positions. */
export function patchIndices({ window, padded, output }: PatchPlaces, positions: ArrayLike<number>): BigInt64Array {
  const { kernel, strides, dilations } = window;
  const taps = sizeOf(kernel);
  const starts = Array.from(positions, (position) =>
    flat(
      coordinates(position, output).map((at, axis) => at * strides[axis]),
      padded,
    ),
  );
  const result = new BigInt64Array(taps * positions.length);
  for (let tap = 0; tap < taps; tap++) {
    const step = flat(
      coordinates(tap, kernel).map((at, axis) => at * dilations[axis]),
      padded,
    );
    starts.forEach((start, i) => {
      result[tap * positions.length + i] = BigInt(start + step);
    });
  }
  return result;
}

/** Inputs that the nodes here add to a graph. */
export const [positionsName, patchesName] = ["moments/positions", "moments/patches"];

/** Values of a graph: x enters a layer, t is what its product should be. */
export interface LayerValues {
  readonly x: string;
  readonly t: string;
}

/** Of a convolution: positions sampled, given with their patches' indices; adds to A, C and Σ t². */
export function addConvolutionMoments(
  build: Builder,
  { groups, rows, columns }: MatrixForm,
  places: PatchPlaces,
  { x, t }: LayerValues,
  positions: number,
): void {
  const [samples, channels] = build.type(x).shape.map(Number);
  const taps = sizeOf(places.window.kernel);
  const chosen = build.input(positionsName, { dtype: "int64", shape: [positions] });
  const indices = build.input(patchesName, { dtype: "int64", shape: [taps * positions] });
  const { pads } = places.window;
  const axes = pads.length / 2;
  const around = [0, 0, ...pads.slice(0, axes), 0, 0, ...pads.slice(axes)];
  const padded = pads.some((size) => size > 0) ? build.node("Pad", [x, build.ints(around)]) : x;
  const plane = build.node("Reshape", [padded, build.ints([samples, channels, sizeOf(places.padded)])]);
  const patches = build.node("Gather", [plane, indices], { axis: 2 });
  const outputs = build.node("Reshape", [t, build.ints([samples, groups * rows, sizeOf(places.output)])]);
  const sampled = build.node("Gather", [outputs, chosen], { axis: 2 });
  /** From [samples, groups · rows of the matrix · positions] to [groups, rows of the matrix, samples · positions]. */
  const matrix = (value: string, height: number): string => {
    const split = build.node("Reshape", [value, build.ints([samples, groups, height, positions])]);
    const turned = build.node("Transpose", [split], { perm: [1, 2, 0, 3] });
    return build.node("Reshape", [turned, build.ints([groups, height, samples * positions])]);
  };
  addProducts(build, matrix(patches, columns), matrix(sampled, rows));
}

/** The same of a matrix product, whose positions are all rows that the batch has. */
export function addProductMoments(
  build: Builder,
  node: Node,
  { rows, columns }: MatrixForm,
  { x, t }: LayerValues,
  positions: number,
): void {
  const chosen = build.input(positionsName, { dtype: "int64", shape: [positions] });
  const alpha = node.op === "Gemm" ? numberAttribute(node, "alpha", 1) : 1;
  const matrix = (value: string, height: number): string => {
    const all = build.node("Reshape", [value, build.ints([-1, height])]);
    const sampled = build.node("Gather", [all, chosen], { axis: 0 });
    const turned = build.node("Transpose", [sampled], { perm: [1, 0] });
    return build.node("Reshape", [turned, build.ints([1, height, positions])]);
  };
  const inputs = matrix(x, columns);
  const scaled = alpha === 1 ? inputs : build.node("Mul", [inputs, build.scalar(alpha, inputs)]);
  addProducts(build, scaled, matrix(t, rows));
}

/** Variables of the graph: A, C and Σ t². */
export const sumNames = ["moments/A", "moments/C", "moments/T"] as const;

/** Adds the products of x [groups, columns, samples] and t [groups, rows, samples] to the sums. */
function addProducts(build: Builder, x: string, t: string): void {
  const turned = build.node("Transpose", [x], { perm: [0, 2, 1] });
  const products = [
    build.node("MatMul", [x, turned]),
    build.node("MatMul", [t, turned]),
    build.node("ReduceSum", [build.node("Mul", [t, t]), build.ints([2])], { keepdims: 0 }),
  ];
  sumNames.forEach((name, i) => {
    const sum = build.variable(name, build.type(products[i]));
    build.update(sum, build.node("Add", [sum, products[i]]));
  });
}
