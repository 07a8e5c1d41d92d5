// Whether an accuracy looks as if the model never saw such data.

import { accuracyName, type Metrics } from "./metrics.ts";

const minSamples = 100;

/** What still counts as guessing, in per cent: twice chance, or a fifth of the way from chance to perfect where that is less. */
export const nearChance = (chance: number): number => Math.min(2 * chance, chance + (100 - chance) / 5);

/** What to check where top-1, in per cent, is about what guessing gives; `undefined` where it is not. */
export function nearChanceHint({ labels, meanIou, top1, classes, samples }: Metrics): string | undefined {
  if (top1 === null || classes === null) return undefined;
  const chance = 100 / classes;
  if (samples < minSamples || top1 >= nearChance(chance)) return undefined;
  const [initial, ...rest] = accuracyName({ labels, meanIou });
  return `${initial.toUpperCase()}${rest.join("")} of ${top1.toFixed(2)} % is near chance (${chance.toFixed(2)} % with ${classes} classes). Check that the data is prepared as in training: --preprocess, --mean, --std, --scale, --layout.`;
}
