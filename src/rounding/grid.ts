// The grid that a weight's quantizer rounds to, and weights that lie on it.
import type { DType } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { heldNarrow } from "../ir/held-narrow.ts";
import { nearestLevel } from "../ir/nearest-level.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { allocate, numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { isStored, storedTensor } from "../ir/tensor-source.ts";
import { uniqueNames } from "../ir/unique-names.ts";
import { forEachRun, scaleLayout } from "../ops/granularity.ts";
import { type LinearLayer, linearLayers } from "../quantizers/linear-layers.ts";

import { type Bounds, boundsIn, isQuantizer, type Quantizer, quantizerOf } from "../quantizers/quantizer.ts";

/**
 * The values (q − zeroPoint) · scale for the integers q from low to high, or levels[q] · scale; one scale and zero point for each
 * element.
 */
export interface Grid {
  readonly scale: Float64Array;
  readonly zeroPoint: Float64Array;
  readonly low: number;
  readonly high: number;
  /** Rising. */
  readonly levels?: Float64Array;
}

/** The quantizer of a layer's weight, if it has one. */
function weightQuantizerOf(graph: Graph, { node }: LinearLayer): Quantizer | undefined {
  const made = producers(graph).get(node.inputs[1]);
  return isQuantizer(made) ? quantizerOf(made) : undefined;
}

export function constantOf(graph: Graph, name: string): Tensor {
  const value = graph.constants.get(name);
  assert(value, `"${name}" is not a constant`);
  return value;
}

/** The scale and the zero point of each element. */
export function gridOf(graph: Graph, quantizer: Quantizer): Grid {
  const levels =
    quantizer.levels === "" ? undefined : Float64Array.from(numbersOf(constantOf(graph, quantizer.levels)));
  const { low, high } = boundsIn(graph, quantizer);
  const zeroPoints = quantizer.zeroPoint === "" ? [0] : numbersOf(constantOf(graph, quantizer.zeroPoint));
  const scaleOf = scaleIndices(graph, quantizer);
  const values = numbersOf(constantOf(graph, quantizer.scale));
  const rounded = Array.from(zeroPoints, (z) => Math.min(high, Math.max(low, roundHalfToEven(z))));
  const [scale, zeroPoint] = [new Float64Array(scaleOf.length), new Float64Array(scaleOf.length)];
  for (let i = 0; i < scaleOf.length; i++) {
    scale[i] = values[scaleOf[i]];
    zeroPoint[i] = rounded[rounded.length === 1 ? 0 : scaleOf[i]];
  }
  return {
    scale,
    zeroPoint,
    low,
    high,
    ...(levels && { levels }),
  };
}

/** Which of its scales each element has. */
export function scaleIndices(graph: Graph, { value, scale, granularity }: Quantizer): Int32Array {
  const { shape } = constantOf(graph, value);
  const indices = new Int32Array(sizeOf(shape));
  forEachRun(scaleLayout(shape, granularity, constantOf(graph, scale).shape), (start, end, at) => {
    for (let i = start; i < end; i++) indices[i] = at;
  });
  return indices;
}

/** The graph whose quantizer has these scales. What else reads them keeps reading them as they were. */
export function placeScales(graph: Graph, { node, scale }: Quantizer, scales: Float64Array): Graph {
  const { dtype, shape } = constantOf(graph, scale);
  return withConstant(graph, { name: scale, reader: node.name, input: 1 }, tensorOf(dtype, shape, scales));
}

/** The same with levels; the quantizer has some. */
export function placeLevels(graph: Graph, { node, levels }: Quantizer, values: Float64Array): Graph {
  const { dtype, shape } = constantOf(graph, levels);
  return withConstant(graph, { name: levels, reader: node.name, input: 2 }, tensorOf(dtype, shape, values));
}

/** The same with zero points; the quantizer has some. */
export function placeZeroPoints(graph: Graph, { node, zeroPoint }: Quantizer, zeroPoints: Float64Array): Graph {
  const { dtype, shape } = constantOf(graph, zeroPoint);
  return withConstant(graph, { name: zeroPoint, reader: node.name, input: 2 }, tensorOf(dtype, shape, zeroPoints));
}

/** w / s as the quantizer divides. */
export const quotientOf = (dtype: DType, w: number, scale: number): number =>
  dtype === "float32" ? Math.fround(w / scale) : w / scale;

export function quotientsOf(weight: Tensor, { scale }: Grid): Float64Array {
  const [dtype, values] = [weight.dtype, numbersOf(weight)];
  const quotients = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) quotients[i] = quotientOf(dtype, values[i], scale[i]);
  return quotients;
}

export const clampTo = ({ low, high }: Bounds, q: number): number => Math.min(high, Math.max(low, q));

/** The integers that the quantizer gives for these quotients: indices where it has levels. */
export function nearestIntegers(quotients: Float64Array, grid: Grid): Float64Array {
  const { levels, zeroPoint } = grid;
  return levels
    ? quotients.map((quotient) => nearestLevel(levels, quotient))
    : quotients.map((quotient, i) => clampTo(grid, roundHalfToEven(quotient) + zeroPoint[i]));
}

/** (q − z) · s, or levels[q] · s */
export function dequantize({ scale, zeroPoint, levels }: Grid, integers: Float64Array): Float64Array {
  const values = new Float64Array(integers.length);
  for (let i = 0; i < values.length; i++) {
    const q = integers[i];
    values[i] = (levels ? levels[q] : q - zeroPoint[i]) * scale[i];
  }
  return values;
}

/**
 * The graph whose quantizer gives these integers: the weight moves to their values. What else reads the weight keeps reading it
 * as it was.
 */
export function placeIntegers(graph: Graph, quantizer: Quantizer, integers: ArrayLike<number>): Graph {
  const { node, value } = quantizer;
  const weight = constantOf(graph, value);
  const use = { name: value, reader: node.name, input: 0 };
  if (isStored(weight)) return withConstant(graph, use, storedValues(graph, quantizer, integers));
  const grid = gridOf(graph, quantizer);
  const moved = tensorOf(weight.dtype, weight.shape, dequantize(grid, Float64Array.from(integers)));
  const found = nearestIntegers(quotientsOf(moved, grid), grid);
  assert(
    found.every((q, i) => q === integers[i]),
    `quantized, the rounded weight "${value}" is not the integers chosen`,
  );
  return withConstant(graph, use, moved);
}

/** The values of these integers, which alone are kept, in as few bits as hold them: a large model's weights are not held as floats. */
function storedValues(graph: Graph, quantizer: Quantizer, integers: ArrayLike<number>): Tensor {
  const { value, scale, zeroPoint, granularity } = quantizer;
  const { dtype, shape } = constantOf(graph, value);
  const scales = constantOf(graph, scale);
  const zeroPoints = zeroPoint === "" ? undefined : numbersOf(constantOf(graph, zeroPoint));
  const held = heldNarrow(integers);
  const layout = scaleLayout(shape, granularity, scales.shape);
  return storedTensor(dtype, shape, () => {
    const codes = held();
    const values = allocate(dtype, codes.length) as Float32Array;
    const steps = numbersOf(scales);
    forEachRun(layout, (start, end, at) => {
      const zero = roundHalfToEven(zeroPoints?.[zeroPoints.length === 1 ? 0 : at] ?? 0);
      for (let i = start; i < end; i++) values[i] = (codes[i] - zero) * steps[at];
    });
    return values;
  });
}

interface ConstantUse {
  readonly name: string;
  readonly reader: string;
  /** Of the reader. */
  readonly input: number;
}

/** Another value of a constant, for this use of it alone. */
function withConstant(graph: Graph, { name, reader, input }: ConstantUse, value: Tensor): Graph {
  const uses = graph.nodes.flatMap(({ inputs }) => inputs).filter((other) => other === name).length;
  if (uses === 1 && !graph.outputs.includes(name))
    return { ...graph, constants: new Map([...graph.constants, [name, value]]) };
  const own = uniqueNames(graph.values.keys())(`${name}_rounded`);
  const reads = (node: Node): Node =>
    node.name === reader ? { ...node, inputs: node.inputs.map((other, i) => (i === input ? own : other)) } : node;
  return {
    ...graph,
    nodes: graph.nodes.map(reads),
    constants: new Map([...graph.constants, [own, value]]),
    values: new Map([...graph.values, [own, { dtype: value.dtype, shape: value.shape }]]),
  };
}

/** The first layer that each quantizer of weights serves, in the order of the nodes; without quantizers that `float` has too. */
export function roundedLayers(
  graph: Graph,
  float: Graph,
): readonly { readonly layer: LinearLayer; readonly quantizer: Quantizer }[] {
  const seen = new Set<string>();
  return linearLayers(graph).flatMap((layer) => {
    const quantizer = weightQuantizerOf(graph, layer);
    if (!quantizer || !graph.constants.has(quantizer.value) || seen.has(quantizer.output)) return [];
    if (float.values.has(quantizer.output)) return [];
    seen.add(quantizer.output);
    return [{ layer, quantizer }];
  });
}
