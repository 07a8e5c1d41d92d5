// A metric of the user's own: what the outputs are worth is computed by their code, sample by sample.
import { moveSamplesFrom } from "../data/batch-axis.ts";
import type { Batch } from "../data/batches.ts";
import type { Tally } from "../distributed/tally.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import { widenTensor } from "../ir/half.ts";
import { type Tensor, tensor } from "../ir/tensor.ts";
import type { Meter, Metrics } from "./metrics.ts";
import { firstRows } from "./model-file.ts";

/** What a metric sees of one sample, by output: without the batch axis. */
export type SampleOutputs = Readonly<Record<string, Tensor>>;

/** What one sample is worth; the metric is the mean. */
export type SampleMetric = (outputs: SampleOutputs, labels: Tensor | undefined) => number;

/** A metric of all samples together, such as an area under a curve or a mean average precision. */
export interface MetricAccumulator {
  /** Outputs and labels of one sample, without the batch axis. */
  readonly add: (outputs: SampleOutputs, labels: Tensor | undefined) => void;
  /** Of what was added so far. */
  readonly value: () => number;
}

/** A metric of one's own. */
export interface OwnMetric {
  readonly name: string;
  readonly higherIsBetter: boolean;
  /** A metric of each sample, or what makes an accumulator that has seen nothing yet. */
  readonly of:
    | SampleMetric
    | {
        /** An accumulator that nothing was added to. */
        readonly start: () => MetricAccumulator | Promise<MetricAccumulator>;
      };
}

/** Parts of the samples whose own values say how much chance is in the whole. */
const parts = 10;

export interface OwnMeter extends Omit<Meter, "count"> {
  readonly count: (outputs: ReadonlyMap<string, Tensor>, batch: Batch) => Tally;
  /** Whether it keeps to itself what it has seen, so that one process has to see all batches, in their order. */
  readonly keeps: boolean;
}

/** `axes`: by output, along which it has its samples; outputs are in this order. */
export async function ownMeter(metric: OwnMetric, axes: ReadonlyMap<string, number>): Promise<OwnMeter> {
  const { name, higherIsBetter, of } = metric;
  const checked = (value: unknown): number => {
    if (typeof value === "number") return value;
    throw new FrostbitError(
      "BAD_OPTION",
      `The metric "${name}" gave ${typeof value === "object" ? JSON.stringify(value) : String(value)}; expected a number.`,
    );
  };
  const { see, value, values } = typeof of === "function" ? eachSample(of, checked) : await accumulated(of, checked);
  return {
    keeps: typeof of !== "function",
    count: (outputs, batch) => {
      const [labels, count] = [batch.target ?? batch.labels, batch.indices.length];
      const ready = [...axes].map(([output, axis]) => {
        const given = outputs.get(output);
        assert(given, `no output "${output}"`);
        return [output, rowsOf(given, axis, count)] as const;
      });
      const seen = Array.from({ length: count }, (_, row) =>
        see(
          Object.fromEntries(ready.map(([output, given]) => [output, rowOf(given, row, count)])),
          labels && rowOf(labels, row, count),
        ),
      ).flat();
      return { sums: [[count, seen.reduce((sum, each) => sum + each, 0)]], lists: [seen] };
    },
    // Accumulators may take long to give a value, and are asked once.
    note: (counted) => (typeof of === "function" ? `${name} ${value(counted).toPrecision(4)}` : name),
    measurement: (counted) => ({
      metrics: {
        ...{ labels: "metric", samples: counted.sums[0][0] },
        ...{ classes: null, top1: null, loss: null, meanIou: null, rmse: null, mae: null, differentLabels: null },
        metric: { name, value: value(counted), higherIsBetter },
      },
      bySample: { metric: values(counted) },
    }),
  };
}

/** What to check where a metric of the float model is NaN; `undefined` where it is not. */
export function noNumberHint({ metric, samples }: Pick<Metrics, "metric" | "samples">): string | undefined {
  if (!metric || !Number.isNaN(metric.value)) return undefined;
  return `The metric "${metric.name}" of ${samples} samples is NaN. Check that there are samples of every class, that labels and outputs are numbers, and the metric itself.`;
}

type Checked = (value: unknown) => number;

interface Seeing {
  /** What a sample adds to the list of values. */
  readonly see: (outputs: SampleOutputs, labels: Tensor | undefined) => readonly number[];
  readonly value: (counted: Tally) => number;
  /** Of each sample, or of each part of them. */
  readonly values: (counted: Tally) => readonly number[];
}

const eachSample = (of: SampleMetric, checked: Checked): Seeing => ({
  see: (outputs, labels) => [checked(of(outputs, labels))],
  value: ({ sums: [whole] }) => whole[1] / Math.max(1, whole[0]),
  values: ({ lists: [list] }) => Array.from(list),
});

async function accumulated({ start }: Exclude<OwnMetric["of"], SampleMetric>, checked: Checked): Promise<Seeing> {
  const whole = await start();
  const each: MetricAccumulator[] = [];
  for (let part = 0; part < parts; part++) each.push(await start());
  let samples = 0;
  return {
    see: (outputs, labels) => {
      whole.add(outputs, labels);
      each[samples % parts].add(outputs, labels);
      samples++;
      return [];
    },
    value: () => checked(whole.value()),
    values: () => each.slice(0, samples).map((part) => checked(part.value())),
  };
}

/** Along axis 0; what is not one for each sample stays whole. */
function rowsOf(given: Tensor, axis: number, count: number): Tensor {
  const wide = widenTensor(given);
  return wide.shape[axis] >= count ? firstRows(moveSamplesFrom(wide, axis), count) : wide;
}

function rowOf(given: Tensor, row: number, count: number): Tensor {
  if (given.shape[0] !== count) return given;
  const size = given.data.length / count;
  return tensor(given.dtype, given.shape.slice(1), given.data.slice(row * size, (row + 1) * size) as typeof given.data);
}
