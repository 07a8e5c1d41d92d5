// Whether training made a model worse, which the files alone do not say.
import type { OutputFidelity } from "../evaluate/fidelity.ts";
import type { Measurement } from "../evaluate/metrics.ts";
import { pairedDifference } from "../evaluate/paired-difference.ts";

/** What was measured of one stage; metrics absent where no labels fit, fidelity where it was not measured. */
export interface Worth {
  readonly metrics?: Measurement | undefined;
  readonly fidelity?: readonly OutputFidelity[] | undefined;
}

/** Whether the second is worse by more than the standard error, where more is worse; −1: better by more. */
function verdictOf(first: readonly number[] = [], second: readonly number[] = []): -1 | 0 | 1 {
  const { mean, error } = pairedDifference(first, second);
  return mean > error ? 1 : mean < -error ? -1 : 0;
}

const negated = (values: readonly number[] = []): readonly number[] => values.map((value) => -value);

/** What to change where training lost more than the standard error of what rounding alone reaches; `undefined` where it did not. */
export function trainingNote(ptq: Worth, trained: Worth): string | undefined {
  const lost = [...lostMetrics(ptq, trained), ...lostFidelity(ptq, trained)];
  if (lost.length === 0) return undefined;
  return `Training lost against rounding alone: ${lost.join("; ")}. Try a smaller --lr and --qparam-lr, or --warmup; --method ptq does not train.`;
}

function lostMetrics({ metrics: ptq }: Worth, { metrics: trained }: Worth): readonly string[] {
  if (!ptq || !trained) return [];
  const [before, after] = [ptq.bySample, trained.bySample];
  const accuracy = verdictOf(negated(before.accuracy), negated(after.accuracy));
  const print = (name: string, key: "top1" | "meanIou" | "loss" | "rmse", show: (value: number) => string): string =>
    `${name} went from ${show(ptq.metrics[key] ?? Number.NaN)} to ${show(trained.metrics[key] ?? Number.NaN)}`;
  const percent = (value: number): string => `${value.toFixed(2)} %`;
  const precise = (value: number): string => value.toPrecision(3);
  return [
    ...(accuracy > 0 ? [print("accuracy", "top1", percent)] : []),
    ...(verdictOf(negated(before.meanIou), negated(after.meanIou)) > 0 ? [print("mean IoU", "meanIou", percent)] : []),
    // A higher loss with more right answers is confidence, not harm.
    ...(accuracy === 0 && verdictOf(before.loss, after.loss) > 0 ? [print("cross-entropy", "loss", precise)] : []),
    ...lostOwn(ptq, trained),
    ...(verdictOf(before.squaredError, after.squaredError) > 0 ? [print("RMSE", "rmse", precise)] : []),
  ];
}

/** By a metric of one's own. */
function lostOwn(ptq: Measurement, trained: Measurement): readonly string[] {
  const [before, after] = [ptq.metrics.metric, trained.metrics.metric];
  if (!before || !after) return [];
  const ofHarm = ({ bySample: { metric } }: Measurement) => (before.higherIsBetter ? negated(metric) : metric);
  if (verdictOf(ofHarm(ptq), ofHarm(trained)) <= 0) return [];
  return [`${before.name} went from ${before.value.toPrecision(3)} to ${after.value.toPrecision(3)}`];
}

/** Where there are labels, they alone say what training is for. */
function lostFidelity(ptq: Worth, trained: Worth): readonly string[] {
  if (ptq.metrics) return [];
  return (ptq.fidelity ?? []).flatMap((before, i) => {
    const after = trained.fidelity?.[i];
    if (!after || verdictOf(before.noiseBySample, after.noiseBySample) <= 0) return [];
    const print = (decibels: number): string =>
      Number.isFinite(decibels) ? `${decibels.toFixed(1)} dB` : "no difference";
    return [`SQNR of "${before.name}" went from ${print(before.sqnrDb)} to ${print(after.sqnrDb)}`];
  });
}
