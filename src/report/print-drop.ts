// How much a file lost, in words.
import { formatDigits } from "./format-digits.ts";
import type { LadderReport } from "./report.ts";

type Drop = NonNullable<LadderReport["rungs"][number]["drop"]>;

/** In words, with its standard error. */
export const printDrop = ({ what, mean, error }: Drop): string =>
  what === "accuracy" || what === "mean IoU"
    ? `${mean.toFixed(2)} ± ${error.toFixed(2)} points`
    : what === "metric"
      ? `${formatDigits(mean)} ± ${formatDigits(error)}`
      : `${formatDigits(mean)} ± ${formatDigits(error)} %`;
