// Weights rounded to nearest, as their quantizers would give them.
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { insertQuantizers } from "../quantizers/insert.ts";
import { weightQparams } from "../quantizers/observe-weights.ts";
import type { ObserverName } from "../quantizers/observers/observer.ts";
import { quantizersOf } from "../quantizers/quantizer.ts";
import type { Site } from "../quantizers/sites.ts";
import { constantOf, dequantize, gridOf, nearestIntegers, quotientsOf } from "./grid.ts";

/** What each site's quantizer gives, in their order. */
export function nearestWeights(graph: Graph, sites: readonly Site[], observer: ObserverName): readonly Tensor[] {
  const qparams = new Map(
    sites.map((site) => [site.name, weightQparams(constantOf(graph, site.value), site, observer)]),
  );
  const quantized = insertQuantizers(graph, { weights: sites, activations: [] }, qparams);
  const quantizers = quantizersOf(quantized);
  return sites.map((site) => {
    const weight = constantOf(graph, site.value);
    const quantizer = quantizers.find(({ value, bits }) => value === site.value && bits === site.bits);
    assert(quantizer, `"${site.value}" has no quantizer`);
    const grid = gridOf(quantized, quantizer);
    return tensorOf(weight.dtype, weight.shape, dequantize(grid, nearestIntegers(quotientsOf(weight, grid), grid)));
  });
}
