// The ranges of a weight's scales, and the scales and zero points that follow.
import { sizeOf, type Tensor } from "../ir/tensor.ts";
import { scaleShape } from "../ops/granularity.ts";
import { codebookQparams, powerQparams } from "./levels.ts";
import { leastErrorLargest, leastErrorRange, type ObserverName, type WeightError } from "./observers/observer.ts";
import { asymmetricWeightQparams, forEachScaled, type Qparams, type Range, symmetricQparams } from "./qparams.ts";
import type { Site } from "./sites.ts";

/** `observer`: mse and lp choose ranges of least error; the others take all that there is. `importance`: by weight, for a codebook. */
export function weightQparams(
  weight: Tensor,
  site: Pick<Site, "granularity" | "bits" | "symmetric" | "grid">,
  observer: ObserverName,
  importance?: Float64Array,
): Qparams {
  if (site.grid === "power") return powerQparams(weight, site, observer);
  if (site.grid === "codebook") return codebookQparams(weight, site, importance);
  const shape = scaleShape(weight.shape, site.granularity);
  const ranges =
    observer === "mse" || observer === "lp"
      ? leastErrorRanges(weight, shape, site, observer)
      : minMaxRanges(weight, shape, site);
  const qparams = site.symmetric ? symmetricQparams : asymmetricWeightQparams;
  return qparams(ranges, site.bits, weight.dtype, shape);
}

function minMaxRanges(
  weight: Tensor,
  shape: readonly number[],
  { granularity }: Pick<Site, "granularity">,
): readonly Range[] {
  const ranges = Array.from({ length: sizeOf(shape) }, () => ({ min: 0, max: 0 }));
  forEachScaled(weight, granularity, shape, (scale, value) => {
    const range = ranges[scale];
    range.min = Math.min(range.min, value);
    range.max = Math.max(range.max, value);
  });
  return ranges;
}

function leastErrorRanges(
  weight: Tensor,
  shape: readonly number[],
  { granularity, bits, symmetric }: Pick<Site, "granularity" | "bits" | "symmetric">,
  by: WeightError,
): readonly Range[] {
  const values: number[][] = Array.from({ length: sizeOf(shape) }, () => []);
  forEachScaled(weight, granularity, shape, (scale, value) => values[scale].push(value));
  if (!symmetric) return values.map((each) => leastErrorRange(each, bits, by));
  return values.map((each) => {
    const largest = leastErrorLargest(each, bits, by);
    return { min: -largest, max: largest };
  });
}
