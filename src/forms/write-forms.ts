// A model in several forms, side by side: size, time, and how near each comes to the float model.

import { measureLatency } from "../evaluate/latency.ts";
import type { ModelFile } from "../evaluate/model-file.ts";
import type { OpenDeployed } from "../export/verify.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph, OnnxModel } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { opsetFor, writeOnnx } from "../onnx/write.ts";
import { givenSizes } from "../passes/with-sizes.ts";
import type { Agreement } from "./agreement.ts";
import { madeInputs, type Sizes, sequenceSizes, sizesOf } from "./made-inputs.ts";
import { type FormName, forms } from "./table.ts";
import { type FormContext, type Learned, preparedModel, writeForm } from "./write-form.ts";

type Values = ReadonlyMap<string, Tensor>;

export interface FormsJob {
  readonly model: OnnxModel;
  readonly forms: readonly FormName[];
  readonly blockSize: number;
  readonly sizes: Sizes;
  readonly seed: number;
  readonly open: OpenDeployed;
  /** Samples that forms are compared on; inputs that are made up where absent. */
  readonly samples?: readonly Values[];
  readonly learned?: Learned;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { phase: string; done: number; total: number }) => void;
}

/** A form that was written. */
interface MeasuredForm {
  readonly form: FormName;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly agreement: readonly Agreement[];
  readonly keptFloat: number;
  /** Median of a run. */
  readonly milliseconds: number;
}

/** A form that cannot hold the model. */
export interface RefusedForm {
  readonly form: FormName;
  readonly reason: string;
}

export interface WrittenForms {
  readonly float: { readonly bytes: Uint8Array<ArrayBuffer>; readonly milliseconds: number };
  readonly written: readonly MeasuredForm[];
  readonly refused: readonly RefusedForm[];
  /** What the inputs' symbolic sizes were. */
  readonly sizes: Sizes;
  /** What to take where nothing else is known: small and fast of those that are near the float model. */
  readonly best: FormName | undefined;
}

/** Samples that forms are compared on. */
const sampleCount = 8;

/** Throws BAD_MODEL where the model cannot be run on inputs that are made up. */
export async function writeForms(job: FormsJob): Promise<WrittenForms> {
  const model = preparedModel(job.model);
  const float = writeOnnx(model, { opset: opsetFor(model.graph, model.origin.opset) });
  const { sizes, batches, expected } = await runFloat(model.graph, float, job);
  const { written, refused } = await writeAll(model, job, {
    open: job.open,
    batches,
    expected,
    blockSize: job.blockSize,
    learned: job.learned,
  });
  const [floatTime, ...times] = await timesOf([float, ...written.map(({ bytes }) => bytes)], batches[0], job.open);
  const measured = written.map((each, i) => ({ ...each, milliseconds: times[i] }));
  return {
    float: { bytes: float, milliseconds: floatTime },
    written: measured,
    refused,
    sizes,
    best: bestOf(measured),
  };
}

async function writeAll(
  model: OnnxModel,
  { forms: names, signal, onProgress }: FormsJob,
  context: FormContext,
): Promise<{
  readonly written: readonly Omit<MeasuredForm, "milliseconds">[];
  readonly refused: readonly RefusedForm[];
}> {
  const written: Omit<MeasuredForm, "milliseconds">[] = [];
  const refused: RefusedForm[] = [];
  for (const [i, form] of names.entries()) {
    if (signal?.aborted) throw new FrostbitError("ABORTED", "Writing forms was stopped.");
    onProgress?.({ phase: `write ${form}`, done: i, total: names.length });
    try {
      written.push({ form, ...(await writeForm(model, forms[form], context)) });
    } catch (error) {
      if (!(error instanceof FrostbitError) || error.code === "ABORTED") throw error;
      refused.push({ form, reason: error.message });
    }
  }
  return { written, refused };
}

interface FloatRun {
  readonly sizes: Sizes;
  readonly batches: readonly Values[];
  readonly expected: readonly Values[];
}

/** At the longest of the sequences that the model takes. */
async function runFloat(
  graph: Graph,
  bytes: Uint8Array,
  { sizes: given, seed, open, samples }: FormsJob,
): Promise<FloatRun> {
  const file = await open(bytes, { spinning: false });
  const runAt = async (sizes: Sizes): Promise<FloatRun> => {
    const batches =
      samples ?? Array.from({ length: sampleCount }, (_, batch) => madeInputs(graph, sizes, { seed, batch }));
    const expected: Values[] = [];
    for (const batch of batches) expected.push(await file.run(batch));
    return { sizes, batches, expected };
  };
  try {
    if (samples) return await runAt(givenSizes(graph, samples[0]));
    return await firstOf(
      sequenceSizes.map((sequence) => sizesOf(graph, given, sequence)),
      runAt,
    );
  } finally {
    await file.dispose();
  }
}

/** What the first of the sizes gives that the model runs with. Throws BAD_MODEL, with why the first fails, where it runs with none. */
async function firstOf(sizes: readonly Sizes[], run: (sizes: Sizes) => Promise<FloatRun>): Promise<FloatRun> {
  const causes: unknown[] = [];
  for (const each of sizes) {
    try {
      return await run(each);
    } catch (cause) {
      causes.push(cause);
    }
  }
  const [cause] = causes;
  const used = [...sizes[0]].map(([name, size]) => `${name}=${size}`).join(",");
  const [where, remedy] =
    used === "" ? ["", ""] : [` with sizes ${used}, or with shorter sequences`, " Give its sizes with --sizes."];
  const reason = cause instanceof Error ? cause.message : String(cause);
  throw new FrostbitError(
    "BAD_MODEL",
    `The model does not run on inputs that are made up${where}: ${reason}${remedy}`,
    { cause },
  );
}

async function timesOf(
  files: readonly Uint8Array[],
  inputs: ReadonlyMap<string, Tensor>,
  open: OpenDeployed,
): Promise<readonly number[]> {
  const opened: ModelFile[] = [];
  try {
    for (const bytes of files) opened.push(await open(bytes));
    return await measureLatency(opened, [inputs], { budgetMs: 2000 });
  } finally {
    await Promise.all(opened.map((file) => file.dispose()));
  }
}

/** Nearer than this, a user sees no difference in most models. */
const nearCosine = 0.99;

/** The least product of size and time among those whose outputs are all near. */
function bestOf(measured: readonly MeasuredForm[]): FormName | undefined {
  const near = measured.filter(({ agreement }) => agreement.every(({ cosine }) => cosine >= nearCosine));
  const cost = ({ bytes, milliseconds }: MeasuredForm): number => bytes.length * milliseconds;
  return near.toSorted((a, b) => cost(a) - cost(b))[0]?.form;
}
