// Whether the labels can tell a good model from a bad one.
import type { Metrics } from "./metrics.ts";

/** What to check where all samples have one label; `undefined` where they have more, or the model has one class alone. */
export function sameLabelHint({ samples, classes, differentLabels }: Metrics): string | undefined {
  if (classes === null || differentLabels === null || differentLabels > 1 || samples < 2) return undefined;
  return `All ${samples} test samples have the same label, so their accuracy means nothing: a model that always gives one class has 100 % or 0 %. Check the labels; data sorted by class needs a larger --limit, or none.`;
}
