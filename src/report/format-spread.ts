// Figures of an ablation for people.
import type { Ablation, Spread } from "./ablation.ts";
import { formatDigits } from "./format-digits.ts";

type Unit = NonNullable<Ablation["measure"]>["unit"];

export const formatMeasure = (value: number, unit: Unit): string =>
  unit === "%" ? value.toFixed(2) : unit === "dB" ? value.toFixed(1) : formatDigits(value);

/** `91.02 ± 0.11 (3)`; of one seed alone `91.02`. */
export function formatSpread(spread: Spread | null, unit: Unit): string {
  if (!spread) return "–";
  const mean = formatMeasure(spread.mean, unit);
  return spread.deviation === null ? mean : `${mean} ± ${formatMeasure(spread.deviation, unit)} (${spread.seeds})`;
}

/** With its sign: `+0.12 ± 0.05 (3)`. */
export function formatDifference(spread: Spread | null, unit: Unit): string {
  if (!spread) return "–";
  const text = formatSpread({ ...spread, mean: Math.abs(spread.mean) }, unit);
  return `${spread.mean < 0 ? "−" : "+"}${text}`;
}

/** "top-1, %" */
export const measureTitle = ({ name, unit }: NonNullable<Ablation["measure"]>): string =>
  unit === "" ? name : `${name}, ${unit}`;
