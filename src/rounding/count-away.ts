// How many weights a method rounded to another integer than the nearest.
import type { Graph } from "../ir/graph.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import { constantOf, gridOf, nearestIntegers, quotientsOf, roundedLayers } from "./grid.ts";

/** Of the weights of a layer that a method rounded. */
export interface AwayFromNearest {
  readonly count: number;
  readonly all: number;
}

/** By layer. `float`: the same graph before it was quantized. */
export function countAway(graph: Graph, float: Graph): ReadonlyMap<string, AwayFromNearest> {
  const weights = new Map(linearLayers(float).map(({ node, weight }) => [node.name, weight]));
  const found = roundedLayers(graph, float).flatMap(({ layer, quantizer }) => {
    const weight = float.constants.get(weights.get(layer.node.name) ?? "");
    if (!weight) return [];
    const grid = gridOf(graph, quantizer);
    const nearest = nearestIntegers(quotientsOf(weight, grid), grid);
    const chosen = nearestIntegers(quotientsOf(constantOf(graph, quantizer.value), grid), grid);
    let count = 0;
    for (let i = 0; i < nearest.length; i++) if (nearest[i] !== chosen[i]) count++;
    return [[layer.name, { count, all: nearest.length }] as const];
  });
  return new Map(found);
}
