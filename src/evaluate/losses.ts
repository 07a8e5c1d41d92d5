// Whether a model is still of use after quantization, and what of it was lost.
import type { OutputDistance } from "./distance.ts";
import type { Metrics } from "./metrics.ts";
import { nearChance } from "./near-chance.ts";

/** Class scores are lost where less than this share is left of what they have above a constant answer. */
const leastShare = 0.5;

/** Class scores at a higher SQNR, in dB, are kept whatever their largest is. */
const keptDb = 10;

/** What an output lost, as the end of a sentence; `undefined` where it is of use. */
export function lossOf(distance: OutputDistance): string | undefined {
  const { sqnrDb, agreement, constantAgreement, channels } = distance;
  if (!channels) return lossOfWholes(distance);
  const { still, noisy, channels: count } = channels;
  const of = (lost: number): string => (count === 1 ? "it" : `${lost} of ${count} channels`);
  if (still > 0) return `${of(still)} no longer ${still === 1 ? "varies" : "vary"}`;
  if (agreement !== undefined && constantAgreement !== undefined) {
    return sqnrDb >= keptDb || isBetter(agreement, constantAgreement)
      ? undefined
      : `the class is the same in ${percent(100 * agreement)} of the samples, and one class alone would be in ${percent(100 * constantAgreement)}`;
  }
  return noisy > 0 ? `${of(noisy)} ${noisy === 1 ? "is" : "are"} mostly noise` : undefined;
}

const isBetter = (agreement: number, constant: number): boolean => agreement - constant >= leastShare * (1 - constant);

/** Indices are the same or not; amounts may be near. */
function lossOfWholes({ agreement, constantAgreement, wholeDb }: OutputDistance): string | undefined {
  if (agreement === undefined || constantAgreement === undefined || wholeDb === undefined) return undefined;
  if (constantAgreement === 1 || wholeDb >= keptDb || isBetter(agreement, constantAgreement)) return undefined;
  return `${percent(100 * agreement)} of the values are the same, and one number alone would be in ${percent(100 * constantAgreement)}`;
}

/** The same of labels' figures; `undefined` where labels do not judge the output. */
export function lossAgainstLabels(float: Metrics, deployed: Metrics): { readonly loss?: string } | undefined {
  if (float.top1 !== null && deployed.top1 !== null && float.classes !== null)
    return lossOfAccuracy(float.top1, deployed.top1, 100 / float.classes);
  return float.rmse !== null && deployed.rmse !== null && deployed.rmse <= float.rmse ? {} : undefined;
}

/** In per cent: `chance` is that of guessing, near which nothing can be lost. */
function lossOfAccuracy(float: number, deployed: number, chance: number): { readonly loss?: string } {
  const isLost = float > nearChance(chance) && deployed - chance < leastShare * (float - chance);
  return isLost ? { loss: `top-1 is ${percent(deployed)}, of ${percent(float)} in float` } : {};
}

const percent = (value: number): string => `${value.toFixed(1)} %`;
