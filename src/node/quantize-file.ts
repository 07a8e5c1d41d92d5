// One run from file to files: model in, quantized model, report and checkpoints out.
import { createHash } from "node:crypto";
import { arch, availableParallelism, cpus, platform } from "node:os";
import { basename, join } from "node:path";
import type { Source } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import type { Storage } from "../data/storage.ts";
import type { Engine, Precision } from "../engines/engine.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { checkCounts, checkGiven, checkNames } from "../ir/check-options.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph, OnnxModel } from "../ir/graph.ts";
import type { ByteSource } from "../ir/tensor-source.ts";
import { checkRun } from "../options/recipe.ts";
import { isQuantized, type RunOptions, resumes } from "../options/run-options.ts";
import { makeReport } from "../quantize/make-report.ts";
import type { QuantizeOutcome } from "../quantize/outcome.ts";
import { quantizeModel } from "../quantize/quantize-model.ts";
import { renderHtml } from "../report/render-html.ts";
import type { Report } from "../report/report.ts";
import type { Progress } from "../run/context.ts";
import { claimOut, fingerprintOf, type RunFields } from "./claim-out.ts";
import { digestOf, machineFields } from "./digest-data.ts";
import { fileSource } from "./file-source.ts";
import { type FolderLock, lockFolder } from "./lock-folder.ts";
import { readModel } from "./read-model.ts";
import { recipeText } from "./recipe-file.ts";
import { ensureWritable, folderStorage, removeEmptyFolders, writeAtomic } from "./storage.ts";
import { versions } from "./versions.ts";

/** What `quantizeFile` is given. */
export interface QuantizeFileJob {
  /** An ONNX file of opset 7 to 24, with its external data in the same folder. */
  readonly modelPath: string;
  /** What `readModel(modelPath)` gave, where the caller has read it already. */
  readonly model?: OnnxModel;
  /** What is calibrated and trained on, and what is tested with: `openData` opens it. */
  readonly source: Source;
  /** What the model was trained on: `resolvePreprocess`. */
  readonly preprocess: Preprocess;
  /** What `runOptions.parse` gave. */
  readonly options: RunOptions;
  /** Folder for `model.onnx`, `report.json`, `report.html`, `recipe.yaml` and `checkpoint/`; made where there is none. */
  readonly out: string;
  /** What calibrates, trains and evaluates: `selectEngine`. */
  readonly engine: Engine;
  /** CPU threads, 1 or more; the engine's own choice where absent. */
  readonly threads?: number;
  /** How training steps are computed: one of the engine's precisions; the last of them where absent. */
  readonly precision?: Precision;
  /** Whether to go on from the checkpoint in `out`, if there is one of the same run. */
  readonly resume?: boolean;
  /** Replaces what another run trained in `out`, which is else refused. */
  readonly overwrite?: boolean;
  /** Stops after the step in hand, with a checkpoint written: the call then throws ABORTED. */
  readonly signal?: AbortSignal;
  /** Called after each step and batch. */
  readonly onProgress?: (progress: Progress) => void;
  /** What the user should know, in a sentence. */
  readonly onNote?: (note: string) => void;
}

/** What `quantizeFile` left. */
export interface QuantizeFileResult {
  /** The verified ONNX file, `model.onnx` in `out`. */
  readonly modelPath: string;
  /** The page, `report.html` in `out`. */
  readonly reportPath: string;
  /** What `report.json` holds. */
  readonly report: Report;
}

const fields = [
  "modelPath",
  "model",
  "source",
  "preprocess",
  "options",
  "out",
  "engine",
  "threads",
  "precision",
  "resume",
  "overwrite",
  "signal",
  "onProgress",
  "onNote",
] satisfies (keyof QuantizeFileJob)[];

/** What can be known to be wrong before a file is read. */
function checkJob(job: QuantizeFileJob): void {
  const { modelPath, source, preprocess, options, out, engine, threads } = job;
  checkNames("quantizeFile", job, fields);
  checkGiven("quantizeFile", { modelPath, source, preprocess, options, out, engine });
  checkCounts("quantizeFile", { threads });
  checkRun(options);
}

interface FileDigest {
  readonly sha256: string;
  readonly sizeBytes: number;
}

const digestedAtOnce = 16 * 1024 * 1024;

function digestOfFile({ sizeBytes, read }: ByteSource): FileDigest {
  const hash = createHash("sha256");
  for (let done = 0; done < sizeBytes; done += digestedAtOnce)
    hash.update(read(done, Math.min(digestedAtOnce, sizeBytes - done)));
  return { sha256: hash.digest("hex"), sizeBytes };
}

const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");

/**
 * A whole run from file to files: calibrates, quantizes, trains, exports, verifies in ONNX Runtime, measures, and writes the
 * model, its report, its recipe and checkpoints to `out`. Nothing else is written there until the exported model is verified.
 *
 * Throws BAD_MODEL, BAD_DATA or BAD_OPTION for what it was given, NO_GRADIENT where what should train cannot, DIVERGED at a
 * non-finite loss, VERIFICATION where the file does not compute what was trained, IO, and ABORTED after `signal`.
 * BAD_OPTION too where another run writes to `out`, or would lose what it trained there.
 *
 * @example
 * const model = readModel("resnet20.onnx");
 * const { report } = await quantizeFile({
 *   modelPath: "resnet20.onnx",
 *   model,
 *   source: await openData("cifar10:cifar-10-batches-bin"),
 *   preprocess: resolvePreprocess("imagenet"),
 *   options: runOptions.parse({ quantize: { weights: 4, activations: 8 }, methods: ["efqat"] }),
 *   engine: selectEngine("auto", [model.graph]),
 *   out: "out",
 * });
 */
export async function quantizeFile(job: QuantizeFileJob): Promise<QuantizeFileResult> {
  checkJob(job);
  const firstCreated = await ensureWritable(job.out);
  try {
    return await quantizeLocked(job);
  } catch (error) {
    if (firstCreated !== undefined) await removeEmptyFolders(job.out, firstCreated);
    throw error;
  }
}

async function quantizeLocked(job: QuantizeFileJob): Promise<QuantizeFileResult> {
  const lock = await lockFolder(job.out);
  try {
    return await quantizeInto(job, lock);
  } finally {
    await lock.release();
  }
}

async function quantizeInto(job: QuantizeFileJob, lock: FolderLock): Promise<QuantizeFileResult> {
  const started = performance.now();
  const input = digestOfFile(fileSource(job.modelPath));
  const model = job.model ?? readModel(job.modelPath);
  const fields = await runFields(job, input.sha256, model.graph);
  const { out, resume = false, overwrite = false } = job;
  const storage = heldStorage(folderStorage(join(out, "checkpoint")), lock);
  await claimOut({ out, storage, fields, resume, overwrite });
  const threads = job.threads === undefined ? {} : { threads: job.threads };
  const context = {
    engine: job.engine,
    seed: job.options.seed,
    precision: precisionOf(job),
    ...threads,
    ...(job.signal ? { signal: job.signal } : {}),
    ...(job.onProgress ? { onProgress: job.onProgress } : {}),
    ...(job.onNote ? { onNote: job.onNote } : {}),
  };
  const outcome = await quantizeModel(
    {
      model,
      source: job.source,
      preprocess: job.preprocess,
      options: job.options,
      openDeployed: (file, options) => openDeployed(file, options ?? threads),
      checkpoints: { storage, fingerprint: fingerprintOf(fields), resume },
    },
    context,
  );
  await lock.check();
  return writeResults(job, input, outcome, started);
}

/** Writes nothing once another run has the folder. */
const heldStorage = (storage: Storage, { check }: FolderLock): Storage => ({
  ...storage,
  write: async (name, bytes) => {
    await check();
    await storage.write(name, bytes);
  },
  remove: async (name) => {
    await check();
    await storage.remove(name);
  },
});

function precisionOf({ engine, precision }: QuantizeFileJob): Precision {
  const { precisions } = engine;
  if (precision === undefined) return precisions[precisions.length - 1];
  if (precisions.includes(precision)) return precision;
  throw new FrostbitError(
    "BAD_OPTION",
    `precision is ${precision}, but the ${engine.name} engine computes in ${precisions.join(", ")} on this machine. Mixed precision needs the native engine and a processor with bfloat16 instructions; "frostbit doctor" shows both.`,
  );
}

/** With external data, the file is not the whole model. */
function digestOfWeights({ constants }: Graph): string {
  const hash = createHash("sha256");
  for (const [name, { data }] of constants)
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return hash.digest("hex");
}

/** What trains nothing leaves no checkpoint, for which all data would be read. */
async function dataFields({ source: { train, test }, options }: QuantizeFileJob): Promise<RunFields> {
  if (!options.methods.some(resumes))
    return { data: `${train.name} ${train.length}`, "test data": `${test.name} ${test.length}` };
  return { data: await digestOf(train), "test data": await digestOf(test) };
}

/** A checkpoint serves only a run of the same versions, model, data, options, engine, precision and machine. */
async function runFields(job: QuantizeFileJob, modelDigest: string, graph: Graph): Promise<RunFields> {
  const { preprocess, engine, threads } = job;
  const fields = {
    ...versions(),
    model: modelDigest,
    weights: digestOfWeights(graph),
    ...fingerprintOptions(job.options),
    ...(await dataFields(job)),
    preprocess,
    engine: engine.name,
    precision: precisionOf(job),
    ...machineFields(engine, threads),
  };
  const printed = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, printed(value)]));
}

/** Those that decide what comes out, by name. */
function fingerprintOptions({
  quantize,
  methods,
  accuracies: _,
  ...whole
}: RunOptions): Readonly<Record<string, unknown>> {
  const ofMethods = methods.flatMap(({ method, options }, i) =>
    Object.entries(options).map(([name, value]) => [`methods[${i}].${method}.${name}`, value] as const),
  );
  const all = [
    ...Object.entries({ ...quantize, ...whole }),
    ["methods", methods.map(({ method }) => method)] as const,
    ...ofMethods.filter(([name]) => !name.endsWith(".checkpointEvery")),
  ];
  return Object.fromEntries(all.filter(([, value]) => value !== undefined));
}

async function writeResults(
  job: QuantizeFileJob,
  input: FileDigest,
  outcome: QuantizeOutcome,
  started: number,
): Promise<QuantizeFileResult> {
  const modelPath = join(job.out, outcome.files[0].name);
  const reportPath = join(job.out, "report.html");
  for (const { name, bytes } of outcome.files) await writeAtomic(join(job.out, name), bytes);
  const { options } = job;
  const report = makeReport(outcome, options, {
    title: `${basename(job.modelPath)}: ${options.methods.map(({ method }) => method).join(", ")}`,
    createdAt: new Date().toISOString(),
    input: { path: job.modelPath, ...input },
    output: { path: modelPath, sha256: sha256(outcome.bytes), sizeBytes: outcome.bytes.length },
    engine: job.engine.name,
    precision: precisionOf(job),
    versions: versions(),
    machine: {
      platform: `${platform()} ${arch()}`,
      processor: cpus()[0]?.model.trim() ?? "unknown",
      threads: job.threads ?? availableParallelism(),
    },
    data: { name: job.source.train.name, heldOut: job.source.heldOut },
    notes: notesOf(job, outcome, input.sizeBytes),
    peakMemoryMb: process.resourceUsage().maxRSS / 1024,
    totalSeconds: (performance.now() - started) / 1000,
  });
  await writeAtomic(join(job.out, "report.json"), `${JSON.stringify(report, null, 1)}\n`);
  await writeAtomic(reportPath, renderHtml(report));
  await writeAtomic(join(job.out, "recipe.yaml"), recipeText(options));
  return { modelPath, reportPath, report };
}

/** What is less is within what the measurement varies by. */
const slower = 1.1;

/** Placement `inputs` and packed weights make the file small; integer kernels need the other choices. */
function speedNote(
  { options }: QuantizeFileJob,
  { latencyMs, bytes }: QuantizeOutcome,
  inputBytes: number,
): string | undefined {
  const { float, deployed } = latencyMs;
  if (!isQuantized(options) || deployed.batch256 < slower * float.batch256) return undefined;
  const advice: string[] = [];
  if (options.quantize.placement === "inputs") advice.push("--placement runtime");
  if (options.quantize.storage === "packed" && options.quantize.weights <= 4) advice.push("--storage int8");
  const times = (deployed.batch256 / float.batch256).toFixed(1);
  const size = bytes.length < inputBytes ? "is smaller, but takes" : "takes";
  return `The exported file ${size} ${times} times the float model's time in ONNX Runtime on this machine.${advice.length > 0 ? ` For speed: ${advice.join(" ")}.` : ""}`;
}

function notesOf(job: QuantizeFileJob, outcome: QuantizeOutcome, inputBytes: number): string[] {
  const notes: string[] = [];
  if (job.source.heldOut)
    notes.push(
      `The data has no test split: a seeded tenth (${job.source.test.length} samples) was held out of training and is what the accuracies are measured on.`,
    );
  if (job.options.limit !== undefined) notes.push(`At most ${job.options.limit} samples of each split were used.`);
  if (outcome.trainingNote !== undefined) notes.push(outcome.trainingNote);
  const speed = speedNote(job, outcome, inputBytes);
  if (speed !== undefined) notes.push(speed);
  return notes;
}
