// Ranges by the least mean |error|^2.4, of weights and of activations, before units are reconstructed.
import { calibrate } from "../calibration/calibrate.ts";
import type { CalibrationBatches } from "../calibration/calibration-data.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { weightQparams } from "../quantizers/observe-weights.ts";
import type { Qparams } from "../quantizers/qparams.ts";
import { type Quantizer, quantizersOf } from "../quantizers/quantizer.ts";
import type { Site } from "../quantizers/sites.ts";
import { constantOf, nearestIntegers, placeScales, roundedLayers } from "../rounding/grid.ts";
import type { Batches } from "../rounding/layer-pass.ts";
import { momentsOptions } from "../rounding/options.ts";
import { roundLayers } from "../rounding/round-layers.ts";
import type { RangeSearch } from "../rounding/search-ranges.ts";
import type { Context } from "../run/context.ts";

export interface RangeJob {
  readonly quantized: Graph;
  readonly float: Graph;
  readonly batches: CalibrationBatches;
  readonly samples: number;
}

/** Of each weight that is rounded to integers; scales of levels belong to the levels. */
export function rangeWeights(quantized: Graph, float: Graph): Graph {
  const uniform = roundedLayers(quantized, float).filter(({ quantizer }) => quantizer.levels === "");
  return uniform.reduce((graph, { quantizer }) => {
    const site = siteOf(quantizer);
    return placeQparams(graph, quantizer, weightQparams(constantOf(graph, quantizer.value), site, "lp"));
  }, quantized);
}

/** Of each activation that is quantized here and not in `float`, as it is there. */
export async function rangeActivations(job: RangeJob, context: Context): Promise<Graph> {
  const { quantized, float, batches, samples } = job;
  const added = quantizersOf(quantized).filter(
    ({ value, output }) => !quantized.constants.has(value) && !float.values.has(output),
  );
  const byScale = new Map(added.toReversed().map((quantizer) => [quantizer.scale, quantizer]));
  const quantizers = [...byScale.values()];
  const sites = { weights: [], activations: quantizers.map(siteOf) };
  const options = { observer: "lp", calibrationSamples: samples } as const;
  const qparams = await calibrate(float, sites, batches, options, context);
  return quantizers.reduce((graph, quantizer) => {
    const found = qparams.get(siteOf(quantizer).name);
    return found ? placeQparams(graph, quantizer, found) : graph;
  }, quantized);
}

export interface OutputRangeJob {
  readonly quantized: Graph;
  readonly float: Graph;
  readonly batches: Batches;
  readonly samples: number;
  readonly search: RangeSearch;
}

/** Of each weight that is rounded, from the scale that it has: by which, rounded to nearest, its layer's output changes least. */
export async function rangeWeightsByOutput(job: OutputRangeJob, { onNote: _, ...quiet }: Context): Promise<Graph> {
  const { quantized, float, samples } = job;
  const options = momentsOptions.parse({ roundingSamples: samples });
  const { graph } = await roundLayers(
    { ...job, options, solve: async ({ quotients, grid }) => nearestIntegers(quotients, grid) },
    quiet,
  );
  const scales = new Map(quantizersOf(graph).map(({ output, scale }) => [output, constantOf(graph, scale)]));
  return roundedLayers(quantized, float).reduce((model, { quantizer }) => {
    const scale = scales.get(quantizer.output);
    return scale ? placeScales(model, quantizer, Float64Array.from(numbersOf(scale))) : model;
  }, quantized);
}

const siteOf = ({ output, value, bits, zeroPoint, granularity }: Quantizer): Site => ({
  name: output,
  value,
  readers: "all",
  bits,
  symmetric: zeroPoint === "",
  granularity,
});

function placeQparams(graph: Graph, { scale, zeroPoint }: Quantizer, qparams: Qparams): Graph {
  const like = (name: string, value: Tensor): Tensor => ({ ...value, shape: constantOf(graph, name).shape });
  const constants = new Map(graph.constants);
  constants.set(scale, like(scale, qparams.scale));
  if (zeroPoint !== "") constants.set(zeroPoint, like(zeroPoint, qparams.zeroPoint));
  return { ...graph, constants };
}
