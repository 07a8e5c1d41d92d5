// Keeps a run to a budget of memory: refused before it starts where it is estimated to take more, stopped where it does.
import { totalmem } from "node:os";
import type { Dataset } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { evaluationBatch, fixedBatchOf } from "../evaluate/batch-that-fits.ts";
import { datasetFor } from "../evaluate/model-file.ts";
import { withSizesOf } from "../evaluate/sizes-of-data.ts";
import { inputTypes } from "../ir/batch-axes.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { peakBytes } from "../passes/peak-bytes.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import type { MemoryEstimate } from "../quantize/job.ts";
import { remedy } from "../run/out-of-memory.ts";

const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6).toLocaleString("en")} MB`;

/** What the system lets this process have. */
const systemBytes = (): number => {
  const constrained = process.constrainedMemory?.() ?? 0;
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
};

const advice: Readonly<Record<MemoryEstimate["phase"], string>> = {
  evaluation: "It holds the model's weights and one batch of values: give the run more.",
  calibration: "--observer min-max keeps no values of a batch for histograms.",
  rounding: "Fewer --rounding-samples take less, and so does a smaller --cache-memory where units are reconstructed.",
  training: remedy,
};

/**
 * Throws MEMORY where a phase is estimated to take more than `maxMemory` MB, with the program and the data as they are in memory
 * now. Where nothing was said, what is beyond the system's memory is noted.
 */
export function checkEstimates(
  estimates: readonly MemoryEstimate[],
  maxMemory: number | undefined,
  onNote: (note: string) => void,
): void {
  const { phase, bytes } = estimates.reduce((most, each) => (each.bytes > most.bytes ? each : most));
  const total = process.memoryUsage.rss() + bytes;
  const estimate = `This run is estimated to take ${megabytes(total)} of memory, in its ${phase}`;
  if (maxMemory !== undefined && total > maxMemory * 1e6)
    throw new FrostbitError("MEMORY", `${estimate}, and --max-memory is ${maxMemory} MB. ${advice[phase]}`);
  if (maxMemory !== undefined) onNote(`${estimate}.`);
  else if (total > systemBytes()) onNote(`${estimate}, and there are ${megabytes(systemBytes())}. ${advice[phase]}`);
}

/** What an evaluation is of. */
interface Evaluated {
  readonly graph: Graph;
  readonly dataset: Dataset;
  readonly preprocess: Preprocess;
}

/**
 * As many samples at once, 64 at most, as are estimated to keep the process, the model in it, to `maxMemory` MB. Throws MEMORY where
 * not even one does, or not the batch that the model fixes.
 */
export function batchWithin(maxMemory: number, { graph, dataset, preprocess }: Evaluated): number {
  const given = withSizesOf(graph, datasetFor({ inputs: inputTypes(graph) }, dataset, preprocess), preprocess);
  const held = process.memoryUsage.rss();
  const bytesAt = (batch: number): number => held + peakBytes(setBatchSize(given, batch));
  let batch = fixedBatchOf(given) ?? evaluationBatch;
  while (bytesAt(batch) > maxMemory * 1e6) {
    if (batch === 1 || fixedBatchOf(given) !== undefined)
      throw new FrostbitError(
        "MEMORY",
        `Evaluating ${batch === 1 ? "one sample" : `${batch} samples`} at a time is estimated to take ${megabytes(bytesAt(batch))} of memory, and --max-memory is ${maxMemory} MB. Give it more.`,
      );
    batch = Math.floor(batch / 2);
  }
  return batch;
}

const pollMs = 100;

/** Runs with a signal that stops the run, as Ctrl-C does, where the process takes more than `maxMemory` MB; then throws MEMORY. */
export async function withinMemory<T>(
  maxMemory: number | undefined,
  given: AbortSignal | undefined,
  run: (signal: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  if (maxMemory === undefined) return run(given);
  const tooMuch = new AbortController();
  const watch = setInterval(() => {
    if (process.memoryUsage.rss() > maxMemory * 1e6) tooMuch.abort();
  }, pollMs);
  try {
    return await run(given ? AbortSignal.any([given, tooMuch.signal]) : tooMuch.signal);
  } catch (cause) {
    if (!tooMuch.signal.aborted || !(cause instanceof FrostbitError) || cause.code !== "ABORTED") throw cause;
    throw new FrostbitError("MEMORY", `The process took more than ${maxMemory} MB, as --max-memory says. ${remedy}`, {
      cause,
    });
  } finally {
    clearInterval(watch);
  }
}
