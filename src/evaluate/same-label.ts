// Whether the labels can tell a good model from a bad one.
import type { Accuracy } from "./score.ts";

/** What to check where all samples have one label; `undefined` where they have more, or the model has one class alone. */
export function sameLabelHint({ samples, differentLabels }: Accuracy, classes: number): string | undefined {
  if (differentLabels > 1 || samples < 2 || classes < 2) return undefined;
  return `All ${samples} test samples have the same label, so their accuracy means nothing: a model that always gives one class has 100 % or 0 %. Check the labels; data sorted by class needs a larger --limit, or none.`;
}
