// Whether an accuracy looks as if the model never saw such data.

const fewestSamples = 100;

/** What to check where top-1, in per cent, is below twice what guessing gives; `undefined` where it is not. */
export function nearChanceHint(top1: number, classes: number, samples: number): string | undefined {
  const chance = 100 / classes;
  if (samples < fewestSamples || top1 >= 2 * chance || classes < 3) return undefined;
  return `Top-1 of ${top1.toFixed(2)} % is near chance (${chance.toFixed(2)} % with ${classes} classes). Check that the data is prepared as in training: --preprocess, --mean, --std, --scale, --layout.`;
}
