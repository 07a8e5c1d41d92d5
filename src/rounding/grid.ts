// The grid that a weight's quantizer rounds to, and weights that lie on it.
import { assert } from "../ir/errors.ts";
import { consumers, type Graph, type Node, producers } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { uniqueNames } from "../ir/unique-names.ts";
import { forEachRun, scaleLayout } from "../ops/granularity.ts";
import { type LinearLayer, linearLayers } from "../quantizers/linear-layers.ts";

import { type Quantizer, quantizerOf } from "../quantizers/quantizer.ts";

/** The values (q − zeroPoint) · scale for the integers q from low to high; one scale and zero point for each element. */
export interface Grid {
  readonly scale: Float64Array;
  readonly zeroPoint: Float64Array;
  readonly low: number;
  readonly high: number;
}

/** The quantizer of a layer's weight, if it has one. */
export function weightQuantizerOf(graph: Graph, { node }: LinearLayer): Quantizer | undefined {
  const made = producers(graph).get(node.inputs[1]);
  return made?.op === "FakeQuantize" ? quantizerOf(made) : undefined;
}

export function constantOf(graph: Graph, name: string): Tensor {
  const value = graph.constants.get(name);
  assert(value, `"${name}" is no constant`);
  return value;
}

/** The scale and the zero point of each element. */
export function gridOf(graph: Graph, { node, value, scale, zeroPoint, granularity }: Quantizer): Grid {
  const weight = constantOf(graph, value);
  const [low, high] = node.inputs.slice(3).map((bound) => numbersOf(constantOf(graph, bound))[0]);
  const scales = constantOf(graph, scale);
  const zeroPoints = zeroPoint === "" ? [0] : numbersOf(constantOf(graph, zeroPoint));
  const size = sizeOf(weight.shape);
  const grid = { scale: new Float64Array(size), zeroPoint: new Float64Array(size) };
  forEachRun(scaleLayout(weight.shape, granularity, scales.shape), (start, end, at) => {
    grid.scale.fill(numbersOf(scales)[at], start, end);
    const z = roundHalfToEven(zeroPoints[zeroPoints.length === 1 ? 0 : at]);
    grid.zeroPoint.fill(Math.min(high, Math.max(low, z)), start, end);
  });
  return { ...grid, low, high };
}

/** w / s as the quantizer divides. */
export function quotientsOf({ dtype, data }: Tensor, { scale }: Grid): Float64Array {
  const round = dtype === "float32" ? Math.fround : (value: number) => value;
  return Float64Array.from(data as Float64Array, (w, i) => round(w / scale[i]));
}

export const clampTo = ({ low, high }: Grid, q: number): number => Math.min(high, Math.max(low, q));

/** The integers that the quantizer gives for these quotients. */
export const nearestIntegers = (quotients: Float64Array, grid: Grid): Float64Array =>
  quotients.map((quotient, i) => clampTo(grid, roundHalfToEven(quotient) + grid.zeroPoint[i]));

/** (q − z) · s */
export const dequantize = ({ scale, zeroPoint }: Grid, integers: Float64Array): Float64Array =>
  integers.map((q, i) => (q - zeroPoint[i]) * scale[i]);

/**
 * The graph whose quantizer gives these integers: the weight moves to their values. What else reads the weight keeps reading it
 * as it was.
 */
export function placeIntegers(graph: Graph, quantizer: Quantizer, integers: Float64Array): Graph {
  const { node, value } = quantizer;
  const grid = gridOf(graph, quantizer);
  const weight = constantOf(graph, value);
  const moved = tensorOf(weight.dtype, weight.shape, dequantize(grid, integers));
  const found = nearestIntegers(quotientsOf(moved, grid), grid);
  assert(
    found.every((q, i) => q === integers[i]),
    `quantized, the rounded weight "${value}" is not the integers chosen`,
  );
  if ((consumers(graph).get(value)?.length ?? 0) === 1)
    return { ...graph, constants: new Map([...graph.constants, [value, moved]]) };
  const name = uniqueNames(graph.values.keys())(`${value}_rounded`);
  const reads = (other: Node): Node =>
    other.name === node.name ? { ...other, inputs: [name, ...other.inputs.slice(1)] } : other;
  return {
    ...graph,
    nodes: graph.nodes.map(reads),
    constants: new Map([...graph.constants, [name, moved]]),
    values: new Map([...graph.values, [name, { dtype: weight.dtype, shape: weight.shape }]]),
  };
}

/** The first layer that each quantizer of weights serves, in the order of the nodes. */
export function roundedLayers(graph: Graph): readonly { readonly layer: LinearLayer; readonly quantizer: Quantizer }[] {
  const seen = new Set<string>();
  return linearLayers(graph).flatMap((layer) => {
    const quantizer = weightQuantizerOf(graph, layer);
    if (!quantizer || !graph.constants.has(quantizer.value) || seen.has(quantizer.output)) return [];
    seen.add(quantizer.output);
    return [{ layer, quantizer }];
  });
}
