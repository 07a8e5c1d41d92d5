// Weights as integers, with ranges from the weights alone.
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { type Folded, foldQuantizers } from "../quantizers/fold.ts";
import { insertQuantizers } from "../quantizers/insert.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import { weightQparams } from "../quantizers/observe-weights.ts";
import { type QuantizeOptions, quantizeOptions } from "../quantizers/quantize-options.ts";
import { findSites } from "../quantizers/sites.ts";

type LayerChoice = (layer: ReturnType<typeof linearLayers>[number]) => boolean;

/** What the layers that `isWanted` chooses become; the others stay as they are. Takes a prepared graph. */
export function foldWeights(graph: Graph, given: Partial<QuantizeOptions>, isWanted: LayerChoice): Folded {
  const unwanted = linearLayers(graph).filter((layer) => !isWanted(layer));
  const layers = Object.fromEntries(unwanted.map(({ name }) => [name, "float" as const]));
  const options = quantizeOptions.parse({ activations: "float", ...given, layers });
  const sites = findSites(graph, options);
  const qparams = sites.weights.map((site) => {
    const weight = graph.constants.get(site.value);
    assert(weight, `weight "${site.value}" is not a constant`);
    return [site.name, weightQparams(weight, site, options.observer)] as const;
  });
  return foldQuantizers(insertQuantizers(graph, sites, new Map(qparams)), "float");
}
