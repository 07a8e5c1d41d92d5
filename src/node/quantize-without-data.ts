// A model file in forms that need no data, written to a folder side by side.
import { dirname, join } from "node:path";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import type { Agreement } from "../forms/agreement.ts";
import { type FormName, formNames, forms } from "../forms/table.ts";
import { type FormsJob, type WrittenForms, writeForms } from "../forms/write-forms.ts";
import { checkChoice, checkCounts, checkGiven, checkNames } from "../ir/check-options.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { OnnxModel } from "../ir/graph.ts";
import type { Progress } from "../run/context.ts";
import { fileSource } from "./file-source.ts";
import { modelFilesOf, readModel } from "./read-model.ts";
import { ensureFolder, ensureWritable, removeEmptyFolders, writeAtomic } from "./storage.ts";

/** What `quantizeWithoutData` is given. */
export interface WithoutDataJob {
  /** An ONNX file of opset 7 to 25, with its external data in the same folder; or a folder as `readModel` takes it. */
  readonly modelPath: string;
  /** What `readModel(modelPath)` gave, where the caller has read it already. */
  readonly model?: OnnxModel;
  /** Folder for the files, `model_fp16.onnx` and so on, and `forms.json`; made where there is none. */
  readonly out: string;
  /** What is written. */
  readonly forms: readonly FormName[];
  /** Inputs of a matrix that share a scale at 8, 4 and 2 bits: 16, 32, 64, 128 or 256; 32 where absent. */
  readonly blockSize?: number;
  /** What the inputs' symbolic sizes are where forms are compared and timed, by name. */
  readonly sizes?: Readonly<Record<string, number>>;
  /** Of the inputs that are made up; 0 where absent. */
  readonly seed?: number;
  /** CPU threads, 1 or more; all cores where absent. */
  readonly threads?: number;
  /** Stops before the next form: the call then throws ABORTED. */
  readonly signal?: AbortSignal;
  /** Called before each form. */
  readonly onProgress?: (progress: Progress) => void;
}

/** All of them: the compiler names what is forgotten. */
export const choiceNames = Object.keys({
  forms: true,
  blockSize: true,
  sizes: true,
  seed: true,
  threads: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof FormChoices, true>);

/** A file that was written. */
export interface FormFile {
  readonly form: FormName;
  readonly path: string;
  readonly sizeBytes: number;
  /** Median of a run of one sample. */
  readonly milliseconds: number;
  /** Of each output, against the float model's on inputs that are made up. */
  readonly agreement: readonly Agreement[];
  /** Of forms in float16, how many nodes keep float32. */
  readonly keptFloat: number;
}

/** What `quantizeWithoutData` left; `forms.json` holds it too. */
export interface WithoutDataResult {
  readonly float: { readonly path: string; readonly sizeBytes: number; readonly milliseconds: number };
  readonly files: readonly FormFile[];
  /** Forms that cannot hold the model, and why. */
  readonly refused: WrittenForms["refused"];
  /** What the inputs' symbolic sizes were. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Small and fast of those that are near the float model; `null` where none is. */
  readonly best: FormName | null;
}

/**
 * Writes a model in forms that need no data, runs each in ONNX Runtime against the float model on inputs that are made up, and
 * times them in turn. A form that cannot hold the model is not written, and `refused` says why.
 *
 * Throws BAD_MODEL where the model is quantized already or does not run on such inputs, BAD_OPTION for what it was given, IO where
 * a file cannot be read or written, and ABORTED after `signal`.
 *
 * @example
 * const { files, best } = await quantizeWithoutData({ modelPath: "model.onnx", out: "out", forms: ["fp16", "q8"] });
 */
export async function quantizeWithoutData(job: WithoutDataJob): Promise<WithoutDataResult> {
  checkNames("quantizeWithoutData", job, ["modelPath", "model", "out", ...choiceNames]);
  const { modelPath, out, forms: given } = job;
  checkGiven("quantizeWithoutData", { modelPath, out, forms: given });
  checkFormChoices("quantizeWithoutData", job);
  const model = job.model ?? readModel(modelPath);
  return inFolder(out, async () => writeFiles(job, await measuredForms(job, model)));
}

/** What `write` gives of a folder that can be written to; one that was made for it does not stay empty where it fails. */
export async function inFolder<Result>(out: string, write: () => Promise<Result>): Promise<Result> {
  const made = await ensureWritable(out);
  try {
    return await write();
  } catch (error) {
    if (made !== undefined) await removeEmptyFolders(out, made);
    throw error;
  }
}

/** What may be chosen of every run without data. */
export type FormChoices = Omit<WithoutDataJob, "modelPath" | "model" | "out">;

export function measuredForms(
  choices: FormChoices,
  model: OnnxModel,
  found: Pick<FormsJob, "samples" | "learned"> = {},
): Promise<WrittenForms> {
  const { threads, blockSize = 32, sizes = {}, seed = 0, signal, onProgress } = choices;
  return writeForms({
    model,
    forms: choices.forms,
    blockSize,
    sizes: new Map(Object.entries(sizes)),
    seed,
    ...found,
    open: (bytes, options) => openDeployed(bytes, { ...(threads === undefined ? {} : { threads }), ...options }),
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
  });
}

async function writeFiles({ modelPath, out }: WithoutDataJob, written: WrittenForms): Promise<WithoutDataResult> {
  const float = { path: modelPath, sizeBytes: sizeOfModel(modelPath), milliseconds: written.float.milliseconds };
  const files = await writeFormFiles(out, written);
  return writeResult(out, { float, files, ...restOf(written) });
}

/** With those beside it that hold its tensors. */
function sizeOfModel(path: string): number {
  const { file, beside } = modelFilesOf(path);
  const names = [file, ...beside.map((name) => join(dirname(file), name))];
  return names.reduce((sum, name) => sum + fileSource(name).sizeBytes, 0);
}

const blockSizes = [16, 32, 64, 128, 256];

/** Throws BAD_OPTION for values that the command's options refuse. */
export function checkFormChoices(
  of: string,
  { threads, blockSize = 32, sizes = {}, seed = 0, forms }: FormChoices,
): void {
  checkCounts(of, { threads });
  for (const form of forms) checkChoice(`${of}: a form`, form, formNames);
  const bad = (what: string, given: unknown, expected: string): FrostbitError =>
    new FrostbitError("BAD_OPTION", `${of}: ${what} is ${String(given)}; expected ${expected}.`);
  const isWhole = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;
  if (forms.length === 0) throw bad("forms", "empty", `some of ${formNames.join(", ")}`);
  if (new Set(forms).size < forms.length) throw bad("forms", forms.join(", "), "each form once");
  if (!blockSizes.includes(blockSize)) throw bad("blockSize", blockSize, blockSizes.join(", "));
  for (const [name, value] of [
    ["seed", seed],
    ...Object.entries(sizes).map(([size, value]) => [`sizes.${size}`, value]),
  ])
    if (!isWhole(value)) throw bad(String(name), value, "a whole number of at least 0");
}

/** The forms as files of a folder, named as transformers.js names them. */
export async function writeFormFiles(folder: string, { written }: WrittenForms): Promise<readonly FormFile[]> {
  await ensureFolder(folder);
  const files: FormFile[] = [];
  for (const { form, bytes, milliseconds, agreement, keptFloat } of written) {
    const path = join(folder, `model${forms[form].suffix}.onnx`);
    await writeAtomic(path, bytes);
    files.push({ form, path, sizeBytes: bytes.length, milliseconds, agreement, keptFloat });
  }
  return files;
}

export const restOf = ({
  refused,
  sizes,
  best,
}: WrittenForms): Pick<WithoutDataResult, "refused" | "sizes" | "best"> => ({
  refused,
  sizes: Object.fromEntries(sizes),
  best: best ?? null,
});

/** Writes `forms.json`. */
export async function writeResult<Result extends WithoutDataResult>(out: string, result: Result): Promise<Result> {
  await writeAtomic(join(out, "forms.json"), `${JSON.stringify(result, null, 2)}\n`);
  return result;
}
