// How Resize makes each output coordinate of one axis from input elements.
import { FrostbitError } from "../ir/errors.ts";
import { type Dim, describeNode, type Node } from "../ir/graph.ts";
import { mismatch, numberAttribute, numbersAttribute, stringAttribute, unsupported } from "./attributes.ts";
import { resolveAxis } from "./operands.ts";

export interface ResizeAxis {
  readonly axis: number;
  readonly inputSize: number;
  readonly outputSize: number;
  readonly scale: number;
  /** Start and end of the region of interest, from 0 to 1; used by tf_crop_and_resize alone. */
  readonly roi: readonly [start: number, end: number];
}

export interface Interpolation {
  /** [outputSize, inputSize], row-major: y = matrix · x. */
  readonly matrix: Float64Array;
  /** Output coordinates that are outside the input (tf_crop_and_resize): their rows are zero. */
  readonly isOutside: readonly boolean[];
}

const coordinateModes = [
  "half_pixel",
  "half_pixel_symmetric",
  "pytorch_half_pixel",
  "align_corners",
  "asymmetric",
  "tf_crop_and_resize",
];
const nearestModes = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"];

function checked(node: Node, name: string, fallback: string, known: readonly string[]): string {
  const value = stringAttribute(node, name, fallback);
  if (known.includes(value)) return value;
  throw unsupported(node, `${name} "${value}" is not supported; expected ${known.join(", ")}.`);
}

/** Refuses the forms of Resize that nothing here computes. */
export function checkResize(node: Node): void {
  checked(node, "mode", "nearest", ["nearest", "linear", "cubic"]);
  checked(node, "coordinate_transformation_mode", "half_pixel", coordinateModes);
  checked(node, "nearest_mode", "round_prefer_floor", nearestModes);
  checked(node, "keep_aspect_ratio_policy", "stretch", ["stretch"]);
  if (numberAttribute(node, "exclude_outside", 0) !== 0 && stringAttribute(node, "mode", "nearest") !== "cubic")
    throw unsupported(node, "exclude_outside goes with mode cubic alone.");
  if (numberAttribute(node, "antialias", 0) !== 0) throw unsupported(node, "antialias is not supported.");
}

/** The axes that Resize's roi, scales and sizes speak of. */
export const resizedAxes = (node: Node, rank: number): readonly number[] =>
  numbersAttribute(node, "axes")?.map((axis) => resolveAxis(node, axis, rank)) ??
  Array.from({ length: rank }, (_, axis) => axis);

const f32 = Math.fround;

/** The input coordinate of output coordinate `i`; rounded to float32 as in ONNX Runtime, so that ties round the same way. */
function inputCoordinate(mode: string, i: number, { inputSize, outputSize, scale, roi }: ResizeAxis): number {
  const center = f32(f32((i + 0.5) / f32(scale)) - 0.5);
  switch (mode) {
    case "half_pixel":
      return center;
    case "half_pixel_symmetric": {
      const adjustment = f32(outputSize / f32(f32(scale) * inputSize));
      const offset = f32((inputSize / 2) * f32(1 - adjustment));
      return f32(offset + (i + 0.5) / f32(scale) - 0.5);
    }
    case "pytorch_half_pixel":
      return outputSize > 1 ? center : 0;
    case "align_corners":
      return outputSize === 1 ? 0 : f32(f32(i * (inputSize - 1)) / (outputSize - 1));
    case "asymmetric":
      return f32(i / f32(scale));
    default: {
      const [start, end] = roi;
      if (outputSize === 1) return f32(0.5 * (start + end) * (inputSize - 1));
      return f32(start * (inputSize - 1) + (i * (end - start) * (inputSize - 1)) / (outputSize - 1));
    }
  }
}

function nearest(mode: string, x: number): number {
  if (mode === "floor") return Math.floor(x);
  if (mode === "ceil") return Math.ceil(x);
  if (mode === "round_prefer_ceil") return Math.floor(x + 0.5);
  return Math.ceil(x - 0.5);
}

const clamp = (x: number, size: number): number => Math.min(Math.max(x, 0), size - 1);

/** The input coordinates, perhaps outside the input, that make an output element, and their weights. */
type Taps = readonly (readonly [coordinate: number, weight: number])[];

type TapsOf = (x: number, size: number) => Taps;

const linearTaps: TapsOf = (x, size) => {
  const clamped = clamp(x, size);
  const low = Math.floor(clamped);
  return [
    [low, 1 - (clamped - low)],
    [low + 1, clamped - low],
  ];
};

/** Keys' kernel of four taps (1981, eq. 4), `a` its slope at 1. */
function cubicWeight(distance: number, a: number): number {
  const d = Math.abs(distance);
  if (d <= 1) return (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1;
  return d < 2 ? a * d ** 3 - 5 * a * d ** 2 + 8 * a * d - 4 * a : 0;
}

/** With `exclude_outside`, positions outside the input have weight 0 and the other weights are scaled up; otherwise the border repeats. */
function cubicTaps(node: Node): TapsOf {
  const a = numberAttribute(node, "cubic_coeff_a", -0.75);
  const excludes = numberAttribute(node, "exclude_outside", 0) === 1;
  return (x, size) => {
    const low = Math.floor(x);
    const taps = [low - 1, low, low + 1, low + 2].map((at) => [at, cubicWeight(x - at, a)] as const);
    if (!excludes) return taps;
    const inside = taps.filter(([at]) => at >= 0 && at < size);
    const total = inside.reduce((sum, [, weight]) => sum + weight, 0);
    return inside.map(([at, weight]) => [at, weight / total] as const);
  };
}

function tapsOf(node: Node): TapsOf {
  const mode = stringAttribute(node, "mode", "nearest");
  if (mode === "linear") return linearTaps;
  if (mode === "cubic") return cubicTaps(node);
  const nearestMode = stringAttribute(node, "nearest_mode", "round_prefer_floor");
  return (x) => [[nearest(nearestMode, x), 1]];
}

export function interpolate(node: Node, axis: ResizeAxis): Interpolation {
  const { inputSize, outputSize } = axis;
  const coordinateMode = stringAttribute(node, "coordinate_transformation_mode", "half_pixel");
  const taps = tapsOf(node);
  const matrix = new Float64Array(outputSize * inputSize);
  const isOutside: boolean[] = [];
  for (let i = 0; i < outputSize; i++) {
    const x = inputCoordinate(coordinateMode, i, axis);
    isOutside.push(coordinateMode === "tf_crop_and_resize" && (x < 0 || x > inputSize - 1));
    if (isOutside[i]) continue;
    for (const [at, weight] of taps(x, inputSize)) matrix[i * inputSize + clamp(at, inputSize)] += weight;
  }
  return { matrix, isOutside };
}

export interface ResizeArguments {
  readonly roi: readonly number[] | undefined;
  readonly scales: readonly number[] | undefined;
  readonly sizes: readonly number[] | undefined;
}

const nonEmpty = (list: readonly number[] | undefined): readonly number[] | undefined =>
  list && list.length > 0 ? list : undefined;

const maxSize = 2 ** 31;

export const growsEmpty = (node: Node, axis: number, size: Dim): FrostbitError =>
  mismatch(node, `axis ${axis} is empty, and is to have the size ${size}; nothing can be interpolated there.`);

/** The axes that change, each with its size and scale. */
export function resizePlan(node: Node, shape: readonly number[], given: ResizeArguments): readonly ResizeAxis[] {
  const axes = resizedAxes(node, shape.length);
  const roi = nonEmpty(given.roi);
  const scales = nonEmpty(given.scales);
  const sizes = nonEmpty(given.sizes);
  const isCrop = stringAttribute(node, "coordinate_transformation_mode", "half_pixel") === "tf_crop_and_resize";
  if ((scales ?? sizes)?.length !== axes.length)
    throw new FrostbitError(
      "BAD_MODEL",
      `${describeNode(node)}: expected scales or sizes, one for each of ${axes.length} axes.`,
    );
  const plan = axes.map((axis, i): ResizeAxis => {
    const requested = (scales ?? sizes)?.[i] ?? Number.NaN;
    if (!(requested > 0 && requested * (scales ? shape[axis] : 1) <= maxSize))
      throw new FrostbitError(
        "BAD_MODEL",
        `${describeNode(node)}: axis ${axis} of size ${shape[axis]} has the ${scales ? "scale" : "new size"} ${requested}; expected a number above 0, and a size of 2^31 at most.`,
      );
    const inputSize = shape[axis];
    const scale = scales ? scales[i] : (sizes as readonly number[])[i] / inputSize;
    const outputSize = scales ? Math.floor(inputSize * scale + 1e-9) : (sizes as readonly number[])[i];
    if (inputSize === 0 && outputSize !== 0) throw growsEmpty(node, axis, outputSize);
    return { axis, inputSize, outputSize, scale, roi: [roi?.[i] ?? 0, roi?.[i + axes.length] ?? 1] };
  });
  return plan.filter(({ inputSize, outputSize, scale }) => isCrop || outputSize !== inputSize || scale !== 1);
}
