// The ranges of a weight's scales, and the scales and zero points that follow.
import { sizeOf, type Tensor } from "../ir/tensor.ts";
import { scaleShape } from "../ops/granularity.ts";
import { mseLargest, mseRangeOf, type ObserverName } from "./observers/observer.ts";
import { asymmetricWeightQparams, forEachScaled, type Qparams, type Range, symmetricQparams } from "./qparams.ts";
import type { Site } from "./sites.ts";

/** `observer`: mse chooses ranges of least squared error; the others take all that there is. */
export function weightQparams(
  weight: Tensor,
  site: Pick<Site, "granularity" | "bits" | "symmetric">,
  observer: ObserverName,
): Qparams {
  const shape = scaleShape(weight.shape, site.granularity);
  const ranges = observer === "mse" ? mseRanges(weight, shape, site) : minMaxRanges(weight, shape, site);
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

function mseRanges(
  weight: Tensor,
  shape: readonly number[],
  { granularity, bits, symmetric }: Pick<Site, "granularity" | "bits" | "symmetric">,
): readonly Range[] {
  const values: number[][] = Array.from({ length: sizeOf(shape) }, () => []);
  forEachScaled(weight, granularity, shape, (scale, value) => values[scale].push(value));
  if (!symmetric) return values.map((each) => mseRangeOf(each, bits));
  return values.map((each) => {
    const largest = mseLargest(each, bits);
    return { min: -largest, max: largest };
  });
}
