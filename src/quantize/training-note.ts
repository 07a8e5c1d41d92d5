// Whether training made a model worse, which the files alone do not say.

/** The statistical error of top-1 on this number of samples, in percentage points. */
const noise = (samples: number): number => 1 + 100 / Math.sqrt(samples);

/** What to change where top-1, in per cent, fell in training by more than noise; `undefined` where it did not, or is not known. */
export function trainingNote(ptq: number | null, trained: number | null, samples: number): string | undefined {
  if (ptq === null || trained === null || ptq - trained <= noise(samples)) return undefined;
  return `Training lost ${(ptq - trained).toFixed(2)} points of what rounding alone reaches. Try a smaller --lr and --qparam-lr, or --warmup; --method ptq does not train.`;
}
