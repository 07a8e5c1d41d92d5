// One run from file to files: model in, quantized model, report and checkpoints out.
import { arch, availableParallelism, cpus, platform } from "node:os";
import { basename, dirname, join } from "node:path";
import type { Dataset, Source } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { memoryStorage, type Storage } from "../data/storage.ts";
import type { Communicator } from "../distributed/communicator.ts";
import { type Engine, type KernelChoices, type Precision, type Tuning, tunings } from "../engines/engine.ts";
import { describeAddon } from "../engines/native/addon.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import type { OwnMetric } from "../evaluate/own-metric.ts";
import { decoderFormat } from "../export/decoder-format.ts";
import { type ExportedFile, sizeOfFile } from "../export/format.ts";
import { checkChoice, checkCounts, checkGiven, checkNames } from "../ir/check-options.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { OnnxModel } from "../ir/graph.ts";
import { ladderReport } from "../ladder/ladder-report.ts";
import { type GoalOutcome, quantizeToGoal } from "../ladder/quantize-to-goal.ts";
import { readJson } from "../language-models/checkpoint.ts";
import { parseConfig } from "../language-models/config.ts";
import { isEncoder } from "../language-models/encoder-config.ts";
import { configFile } from "../language-models/read.ts";
import { textFiles } from "../language-models/tokenizer.ts";
import { checkRun } from "../options/recipe.ts";
import { isQuantized, type RunOptions, resumes } from "../options/run-options.ts";
import type { FormattedJob } from "../quantize/job.ts";
import { makeReport, sizeOfInput } from "../quantize/make-report.ts";
import { type QuantizeOutcome, timeShares } from "../quantize/outcome.ts";
import { assist, quantizeSharing, type SharedMeasures } from "../quantize/quantize-model.ts";
import { placementOf } from "../quantizers/quantize-options.ts";
import type { Report } from "../report/report.ts";
import type { Context, Progress } from "../run/context.ts";
import { outOfMemory } from "../run/out-of-memory.ts";
import type { CheckpointOptions } from "../training/checkpoint.ts";
import { agreeOn, checkShared, sharedCheckpoints } from "./agree-on-run.ts";
import { claimOut, fingerprintOf, type RunFields } from "./claim-out.ts";
import { digestOfSource, machineFields } from "./digest-data.ts";
import { digestOfModel, modelFields } from "./digest-model.ts";
import { digestOfBytes, digestOfFile } from "./file-digest.ts";
import { fileSource } from "./file-source.ts";
import { loadHighs } from "./load-highs.ts";
import { type FolderLock, lockFolder } from "./lock-folder.ts";
import { checkEstimates, withinMemory } from "./memory-budget.ts";
import { openSequences } from "./open-decoder.ts";
import { modelFileOf, modelFolder, readModel } from "./read-model.ts";
import { recipeText } from "./recipe-file.ts";
import { agreeOnKernels, savedKernels, withKernels } from "./run-kernels.ts";
import {
  ensureFolder,
  ensureWritable,
  folderStorage,
  moveFile,
  removeEmptyFolders,
  removeUnnamed,
  writeAtomic,
  writeUnnamed,
} from "./storage.ts";
import { versions } from "./versions.ts";

/** What `quantizeFile` is given. */
export interface QuantizeFileJob {
  /** An ONNX file of opset 7 to 25, with its external data in the same folder. */
  readonly modelPath: string;
  /** What `readModel(modelPath)` gave, where the caller has read it already. */
  readonly model?: OnnxModel;
  /** What is calibrated and trained on, and what is tested with: `openData` opens it. */
  readonly source: Source;
  /** What the model was trained on: `resolvePreprocess`. */
  readonly preprocess: Preprocess;
  /** What `runOptions.parse` gave. */
  readonly options: RunOptions;
  /** What the outputs are worth, instead of what the labels choose: `openMetric` opens it. */
  readonly metric?: OwnMetric;
  /** Folder for `model.onnx`, or a language model's `onnx/` and what reads its text, `report.json`, `report.html`, `recipe.yaml` and `checkpoint/`; made where there is none. */
  readonly out: string;
  /** What calibrates, trains and evaluates: `selectEngine`. */
  readonly engine: Engine;
  /** CPU threads, 1 or more; the engine's own choice where absent. */
  readonly threads?: number;
  /** How training steps are computed: one of the engine's precisions; the last of them where absent. */
  readonly precision?: Precision;
  /** How the native engine chooses kernels that compute the same; "fast" where absent. */
  readonly tune?: Tuning;
  /** Whether to go on from the checkpoint in `out`, if there is one of the same run. */
  readonly resume?: boolean;
  /** Replaces what another run trained in `out`, which is else refused. */
  readonly overwrite?: boolean;
  /** Megabytes that the process may take: more is refused before the run, by an estimate, and ends it with a checkpoint. */
  readonly maxMemory?: number;
  /** Stops after the step in hand, with a checkpoint written: the call then throws ABORTED. */
  readonly signal?: AbortSignal;
  /** Called after each step and batch. */
  readonly onProgress?: (progress: Progress) => void;
  /** What the user should know, in a sentence. */
  readonly onNote?: (note: string) => void;
}

/** What `quantizeFile` left. */
export interface QuantizeFileResult {
  /** The verified ONNX file: `model.onnx` in `out`, or of a language model such as `onnx/model_q4.onnx`. */
  readonly modelPath: string;
  /** The page, `report.html` in `out`. */
  readonly reportPath: string;
  /** What `report.json` holds. */
  readonly report: Report;
}

/** All of them: the compiler names what is forgotten. */
const fields = Object.keys({
  modelPath: true,
  model: true,
  source: true,
  preprocess: true,
  options: true,
  metric: true,
  out: true,
  engine: true,
  threads: true,
  precision: true,
  tune: true,
  resume: true,
  overwrite: true,
  maxMemory: true,
  signal: true,
  onProgress: true,
  onNote: true,
} satisfies Record<keyof QuantizeFileJob, true>);

/** What can be known to be wrong before a file is read. */
function checkJob(job: QuantizeFileJob): void {
  const { modelPath, source, preprocess, options, out, engine, threads } = job;
  checkNames("quantizeFile", job, fields);
  checkGiven("quantizeFile", { modelPath, source, preprocess, options, out, engine });
  checkCounts("quantizeFile", { threads, maxMemory: job.maxMemory });
  checkChoice("tune", tuneOf(job), tunings);
  checkRun(options);
}

/**
 * A whole run from file to files: calibrates, quantizes, trains, exports, verifies in ONNX Runtime, measures, and writes the
 * model, its report, its recipe and checkpoints to `out`. Nothing else is written there until the exported model is verified.
 *
 * Throws BAD_MODEL, BAD_DATA or BAD_OPTION for what it was given, NO_GRADIENT where what should train cannot, DIVERGED at a
 * non-finite loss, VERIFICATION where the file does not compute what was trained, IO, MEMORY where there is not enough,
 * and ABORTED after `signal`. BAD_OPTION too where another run writes to `out`, or would lose what it trained there.
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
export const quantizeFile = (job: QuantizeFileJob): Promise<QuantizeFileResult> => quantizeFileAlone(job);

/** What runs of the same model and data have in common: the first of them finds it. */
export interface SharedByRuns extends SharedMeasures {
  /** Of the data. */
  digest?: NonNullable<Report["data"]["digest"]>;
  /** The model's file. */
  input?: Report["input"];
}

/** As one of several processes that each call it: the first one gives what it left, and the others nothing. */
export async function quantizeFileAmong(
  job: QuantizeFileJob,
  communicator: Communicator,
): Promise<QuantizeFileResult | undefined> {
  checkJob(job);
  checkShared(job.options, communicator.size);
  if (communicator.rank === 0) return quantizeFileAlone(job, communicator);
  const { model, digest, fields } = await identityOf(job, {});
  await agreeOn(await fieldsOfAll(job, fields, digest), communicator);
  const own = { storage: memoryStorage(), fingerprint: fingerprintOf(fields), resume: false };
  const saved = await sharedCheckpoints(own, communicator);
  const { checkpoints, kernels } = await kernelsOf(job, saved, communicator);
  await assist(formattedJob(job, model, checkpoints), contextOf(job, kernels, communicator));
  return undefined;
}

/** Of files that are moved once they are there. */
export interface Staged {
  /** Held by who moves them. */
  readonly lock: FolderLock;
  /** Where the report states them to be. */
  readonly finalOut: string;
}

/** For who makes several runs. */
export const quantizeFileStaged = (
  job: QuantizeFileJob,
  shared: SharedByRuns,
  staged: Staged,
): Promise<QuantizeFileResult> => inFolder(job, () => quantizeWithin(job, { ...staged, shared }));

const quantizeFileAlone = (job: QuantizeFileJob, communicator?: Communicator): Promise<QuantizeFileResult> =>
  inFolder(job, async () => {
    const lock = await lockFolder(job.out);
    try {
      return await quantizeWithin(job, { lock, finalOut: job.out, shared: {}, communicator });
    } finally {
      await lock.release();
    }
  });

/** What fails leaves no folder that it made. */
async function inFolder(job: QuantizeFileJob, run: () => Promise<QuantizeFileResult>): Promise<QuantizeFileResult> {
  checkJob(job);
  const firstCreated = await ensureWritable(job.out);
  try {
    return await run();
  } catch (error) {
    await removeUnnamed(job.out).catch(() => undefined);
    if (firstCreated !== undefined) await removeEmptyFolders(job.out, firstCreated);
    throw error;
  }
}

interface Surroundings extends Staged {
  readonly shared: SharedByRuns;
  readonly communicator?: Communicator | undefined;
}

async function quantizeWithin(job: QuantizeFileJob, surroundings: Surroundings): Promise<QuantizeFileResult> {
  try {
    return await withinMemory(job.maxMemory, job.signal, (signal) =>
      quantizeInto(signal ? { ...job, signal } : job, surroundings),
    );
  } catch (error) {
    throw outOfMemory(error) ?? error;
  }
}

async function quantizeInto(
  job: QuantizeFileJob,
  { lock, finalOut, shared, communicator }: Surroundings,
): Promise<QuantizeFileResult> {
  const started = performance.now();
  const { input, model, digest, fields } = await identityOf(job, shared);
  const { out, resume = false, overwrite = false } = job;
  if (communicator) await agreeOn(await fieldsOfAll(job, fields, digest), communicator);
  const storage = heldStorage(folderStorage(join(out, "checkpoint")), lock);
  await claimOut({ out, storage, fields, resume, overwrite });
  const saved = { storage, fingerprint: fingerprintOf(fields), resume };
  if (communicator) await sharedCheckpoints(saved, communicator);
  const { checkpoints, kernels } = await kernelsOf(job, saved, communicator);
  const formatted = formattedJob(job, model, checkpoints);
  const { options, ...made } = await outcomeOf(formatted, contextOf(job, kernels, communicator), shared);
  await lock.check();
  const traffic = communicator && { processes: communicator.size, ...communicator.traffic() };
  return writeResults({ ...job, options }, { input, digest, started, finalOut, traffic, asked: job.options, ...made });
}

/** The kernels of a run, those of the checkpoint that it goes on from among them; and checkpoints that keep them. */
async function kernelsOf(job: QuantizeFileJob, saved: CheckpointOptions, communicator: Communicator | undefined) {
  const own: KernelChoices = {
    tuning: tuneOf(job),
    chosen: saved.resume ? await savedKernels(saved.storage) : new Map(),
    ...(job.onNote ? { onNote: job.onNote } : {}),
  };
  const kernels =
    communicator && job.engine.name === "native"
      ? await agreeOnKernels(own, job.threads ?? availableParallelism(), communicator)
      : own;
  return { kernels, checkpoints: { ...saved, storage: withKernels(saved.storage, kernels.chosen) } };
}

const tuneOf = ({ tune = "fast" }: Pick<QuantizeFileJob, "tune">): Tuning => tune;

const contextOf = (job: QuantizeFileJob, kernels: KernelChoices, communicator: Communicator | undefined): Context => ({
  kernels,
  engine: job.engine,
  seed: job.options.seed,
  precision: precisionOf(job),
  ...threadsOf(job),
  ...(communicator ? { communicator } : {}),
  ...(job.signal ? { signal: job.signal } : {}),
  ...(job.onProgress ? { onProgress: job.onProgress } : {}),
  ...(job.onNote ? { onNote: job.onNote } : {}),
});

const threadsOf = ({ threads }: QuantizeFileJob): { readonly threads?: number } =>
  threads === undefined ? {} : { threads };

function formattedJob(job: QuantizeFileJob, model: OnnxModel, checkpoints: CheckpointOptions): FormattedJob {
  const threads = threadsOf(job);
  return {
    model,
    source: job.source,
    preprocess: job.preprocess,
    options: job.options,
    ...(job.metric && { metric: job.metric }),
    openDeployed: (file, options) => openSequences(file, { ...threads, ...options }),
    ...formatOf(job),
    checkMemory: (estimates) => checkEstimates(estimates, job.maxMemory, (note) => job.onNote?.(note)),
    ...(modelFileOf(job.modelPath).format === "onnx" && {
      openGiven: () => openDeployed(job.modelPath, { ...threads, spinning: false }),
    }),
    loadSolver: loadHighs,
    checkpoints,
    keepFile: (file) => keptFile(job.out, file),
  };
}

/** A larger model's file is not in memory while it is verified. */
const mostFileBytes = 2 ** 25;

async function keptFile(out: string, { name, bytes }: ExportedFile): Promise<ExportedFile> {
  if (bytes.length <= mostFileBytes) return { name, bytes };
  const path = await writeUnnamed(out, basename(name), bytes);
  return onDisk(name, path, bytes.length);
}

/** In a function of its own, which holds no bytes. */
const onDisk = (name: string, path: string, sizeBytes: number): ExportedFile => ({
  name,
  onDisk: { path, sizeBytes },
  get bytes() {
    return fileSource(path).read(0, sizeBytes);
  },
});

/** Of the methods named, or of those that the goal's ladder chose. */
async function outcomeOf(
  job: FormattedJob,
  context: Context,
  shared: SharedMeasures,
): Promise<Pick<GoalOutcome, "options" | "outcome"> & Partial<GoalOutcome>> {
  const { options } = job;
  const { goal } = options;
  if (goal) return quantizeToGoal({ ...job, options: { ...options, goal } }, context, shared);
  return { options, outcome: await quantizeSharing(job, context, shared) };
}

interface Identity {
  readonly input: Report["input"];
  readonly model: OnnxModel;
  readonly digest: Report["data"]["digest"];
  readonly fields: RunFields;
}

/** A run, wherever it writes. */
export type PlacelessJob = Omit<QuantizeFileJob, "out">;

/** What tells a run from others: its model, its data, and everything that decides what comes out. */
export async function identityOf(job: PlacelessJob, shared: SharedByRuns): Promise<Identity> {
  shared.input ??= digestOfModel(job.modelPath);
  const { input } = shared;
  const model = job.model ?? readModel(job.modelPath);
  const digest = await digestOfData(job, shared);
  return { input, model, digest, fields: runFields(job, input, digest) };
}

/** What processes compare: samples too where no checkpoint needs their digest, since each process calibrates and evaluates some. */
async function fieldsOfAll(
  { source, options }: PlacelessJob,
  fields: RunFields,
  digest: Report["data"]["digest"],
): Promise<RunFields> {
  if (digest) return fields;
  return { ...fields, samples: JSON.stringify(await digestOfSource(source, options.limit)) };
}

/** Of a language model; throws BAD_OPTION where others are asked for what only these are written in. */
function formatOf({ modelPath, options }: QuantizeFileJob): Pick<FormattedJob, "format"> {
  const { format, activations } = options.quantize;
  const others = format.filter((name) => name !== "onnx");
  const folder = modelFolder(modelPath);
  const config = modelFileOf(modelPath).format === "huggingFace" ? readJson(folder, configFile) : undefined;
  const isLanguageModel = config !== undefined && !isEncoder(config);
  if (others.length > 0 && !(isLanguageModel && activations === "float"))
    throw new FrostbitError(
      "BAD_OPTION",
      `format is ${format.join(", ")}; ${others.join(", ")} hold language models whose weights alone are quantized: give a language model's folder, and activations: float.`,
    );
  if (!isLanguageModel) return {};
  return { format: decoderFormat({ config: parseConfig(config), folder }, others) };
}

/** What a language model's files need beside them, as it is in its folder. */
function companionsOf(modelPath: string, written: readonly ExportedFile[]): readonly ExportedFile[] {
  if (modelFileOf(modelPath).format !== "huggingFace") return [];
  const { holds, open } = modelFolder(modelPath);
  const isLeft = (name: string): boolean => holds(name) && !written.some((file) => file.name === name);
  return textFiles.filter(isLeft).map((name) => {
    const file = open(name);
    return { name, bytes: file.read(0, file.sizeBytes) };
  });
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

export function precisionOf({ engine, precision }: Pick<QuantizeFileJob, "engine" | "precision">): Precision {
  const { precisions } = engine;
  if (precision === undefined) return precisions[precisions.length - 1];
  if (precisions.includes(precision)) return precision;
  throw new FrostbitError(
    "BAD_OPTION",
    `precision is ${precision}, but the ${engine.name} engine computes in ${precisions.join(", ")} on this machine. Mixed precision needs the native engine and an x64 processor with bfloat16 instructions; "frostbit doctor" shows both.`,
  );
}

/** What trains nothing leaves no checkpoint, for which all data would be read. */
async function digestOfData(
  { source, options }: PlacelessJob,
  shared: SharedByRuns,
): Promise<Report["data"]["digest"]> {
  if (!options.methods.some(resumes) && !options.goal) return null;
  shared.digest ??= await digestOfSource(source, options.limit);
  return shared.digest;
}

function dataFields({ train, test }: Source, digest: Report["data"]["digest"]): RunFields {
  const field = ({ name, length }: Dataset, contents: string | undefined): string =>
    [name, length, contents].filter((part) => part !== undefined).join(" ");
  return { data: field(train, digest?.train), "test data": field(test, digest?.test) };
}

/** A checkpoint serves only a run of the same versions, model, data, options, engine, precision and machine. */
function runFields(job: PlacelessJob, input: Report["input"], data: Report["data"]["digest"]): RunFields {
  const { preprocess, metric, engine, threads } = job;
  const fields = {
    ...versions(),
    ...modelFields(input),
    ...fingerprintOptions(job.options),
    ...dataFields(job.source, data),
    preprocess,
    ...(metric && { metric: metric.name }),
    engine: engine.name,
    precision: precisionOf(job),
    ...machineFields({ engine, threads, tune: tuneOf(job) }),
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

interface Results extends Pick<GoalOutcome, "outcome">, Partial<Pick<GoalOutcome, "climbed" | "validation">> {
  /** What the run was told, before the ladder chose. */
  readonly asked: RunOptions;
  readonly input: Report["input"];
  readonly digest: Report["data"]["digest"];
  readonly started: number;
  readonly finalOut: string;
  readonly traffic: Report["distributed"] | undefined;
}

/** What a folder of results holds besides the report, as it is now. */
async function digestOfResults(out: string, written: readonly ExportedFile[]): Promise<Report["files"]> {
  const checkpoint = folderStorage(join(out, "checkpoint"));
  const names = (await checkpoint.list()).map((name) => `checkpoint/${name}`).toSorted();
  return [
    ...written.map(({ name }) => ({ name, ...digestOfFile(fileSource(join(out, name))) })),
    ...names.map((name) => ({ name, ...digestOfFile(fileSource(join(out, name))) })),
  ];
}

async function writeResults(
  job: QuantizeFileJob,
  { input, digest, outcome, started, finalOut, traffic, asked, climbed, validation }: Results,
): Promise<QuantizeFileResult> {
  const modelPath = join(finalOut, outcome.files[0].name);
  const { options } = job;
  const recipe = { name: "recipe.yaml", bytes: new TextEncoder().encode(recipeText(options)) };
  const written: readonly ExportedFile[] = [...outcome.files, recipe, ...companionsOf(job.modelPath, outcome.files)];
  for (const file of written) {
    const path = join(job.out, file.name);
    await ensureFolder(dirname(path));
    if (file.onDisk) await moveFile(file.onDisk.path, path);
    else await writeAtomic(path, file.bytes);
  }
  const files = await digestOfResults(job.out, written);
  const [{ sha256, sizeBytes }] = files;
  const report = makeReport(outcome, options, {
    title: `${basename(job.modelPath)}: ${options.methods.map(({ method }) => method).join(", ")}`,
    createdAt: new Date().toISOString(),
    input,
    output: { path: modelPath, sha256, sizeBytes },
    files,
    engine: job.engine.name,
    precision: precisionOf(job),
    versions: { ...versions(), ...(job.engine.name === "native" ? { oneDNN: describeAddon().oneDnn } : {}) },
    machine: {
      platform: `${platform()} ${arch()}`,
      processor: cpus()[0]?.model.trim() ?? "unknown",
      threads: job.threads ?? availableParallelism(),
    },
    data: { name: job.source.train.name, heldOut: job.source.heldOut, digest },
    notes: notesOf(job, outcome, sizeOfInput(input)),
    peakMemoryMb: process.resourceUsage().maxRSS / 1024,
    totalSeconds: (performance.now() - started) / 1000,
    distributed: traffic ?? null,
    ladder: climbed && validation ? ladderReport(climbed, validation, asked) : null,
  });
  const text = `${JSON.stringify(report, null, 1)}\n`;
  await writeAtomic(join(job.out, "report.json"), text);
  // ECharts takes half a second to load: it is loaded when it draws.
  const { renderHtml } = await import("../report/render-html.ts");
  await writeAtomic(join(job.out, "report.html"), renderHtml(report, digestOfBytes(text).sha256));
  return { modelPath, reportPath: join(finalOut, "report.html"), report };
}

/** What is less is within what the measurement varies by. */
const slower = 1.1;

/** Integer kernels need placement `runtime`, and weights that are 8 bits once the file is open. */
function speedNote(
  { options }: QuantizeFileJob,
  { latencyMs, files: [file] }: QuantizeOutcome,
  inputBytes: number,
): string | undefined {
  const [one, many = 0] = timeShares(latencyMs.float, latencyMs.deployed);
  if (!isQuantized(options) || Math.max(one, many) < slower) return undefined;
  const advice: string[] = [];
  if (options.quantize.activations !== "float" && placementOf(options.quantize) === "runtime")
    advice.push("--activations float");
  if (placementOf(options.quantize) === "inputs") advice.push("--placement runtime");
  if (options.quantize.storage === "int4" && options.quantize.weights <= 4) advice.push("--storage packed");
  const times = Math.max(one, many).toFixed(1);
  const of = one < slower ? "batches" : many < slower ? "one sample" : "one sample and batches";
  const size = sizeOfFile(file) < inputBytes ? "is smaller, but takes" : "takes";
  return `The exported file ${size} ${times} times the float model's time in ONNX Runtime on this machine, for ${of}.${advice.length > 0 ? ` For speed: ${advice.join(" ")}.` : ""}`;
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
