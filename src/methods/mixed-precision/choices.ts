// The weights whose bits are chosen, and what each becomes at each width.
import type { Graph } from "../../ir/graph.ts";
import { sizeOf, type Tensor } from "../../ir/tensor.ts";
import { linearLayers } from "../../quantizers/linear-layers.ts";
import { isAsymmetric, matchesPattern, type QuantizeOptions } from "../../quantizers/quantize-options.ts";
import { findSites, type Site, withFirstLast, withoutQuantized } from "../../quantizers/sites.ts";
import { constantOf } from "../../rounding/grid.ts";
import { nearestWeights } from "../../rounding/nearest-weights.ts";

/** A weight whose bits are chosen. Layers that share it have one width. */
export interface Choice {
  readonly weight: string;
  /** As `layers` names them. */
  readonly layers: readonly string[];
  /** Elements. */
  readonly count: number;
  /** By width, the values that rounding to nearest gives. */
  readonly rounded: ReadonlyMap<number, Tensor>;
}

/** A weight that has its bits already. */
interface Fixed {
  readonly weight: string;
  readonly layers: readonly string[];
  readonly count: number;
  readonly bits: number;
  readonly rounded: Tensor;
}

export interface Choices {
  readonly free: readonly Choice[];
  readonly fixed: readonly Fixed[];
}

/** Layers that `layers` or `firstLast` gives bits keep them. Float layers and those that came quantized are in neither list. */
export function choicesOf(graph: Graph, options: QuantizeOptions, widths: readonly number[]): Choices {
  const sites = withoutQuantized(graph, findSites(graph, options)).weights;
  const layers = linearLayers(graph);
  const layersOf = ({ readers }: Site): readonly string[] =>
    layers.filter(({ node }) => readers.includes(node.name)).map(({ name }) => name);
  const patterns = Object.keys(withFirstLast(graph, layers, options).layers);
  const isNamed = (site: Site): boolean =>
    layersOf(site).some((layer) => patterns.some((pattern) => matchesPattern(pattern, layer)));
  const namedWeights = new Set(sites.filter(isNamed).map(({ value }) => value));
  const [fixed, free] = [true, false].map((named) => sites.filter(({ value }) => namedWeights.has(value) === named));
  const atWidths = new Map(
    widths.map((bits) => {
      const atWidth = free.map((site) => ({ ...site, bits, symmetric: !isAsymmetric(options, bits) }));
      return [bits, nearestWeights(graph, atWidth, options.observer)] as const;
    }),
  );
  const asGiven = nearestWeights(graph, fixed, options.observer);
  const countOf = ({ value }: Site): number => sizeOf(constantOf(graph, value).shape);
  return {
    free: free.map((site) => ({
      weight: site.value,
      layers: layersOf(site),
      count: countOf(site),
      rounded: new Map([...atWidths].map(([bits, rounded]) => [bits, rounded[free.indexOf(site)]])),
    })),
    fixed: fixed.map((site, i) => ({
      weight: site.value,
      layers: layersOf(site),
      count: countOf(site),
      bits: site.bits,
      rounded: asGiven[i],
    })),
  };
}
