// frostbit quantize without --data: the forms that need none, side by side.
import { z } from "zod";
import type { Agreement } from "../forms/agreement.ts";
import { defaultForms, type FormName, formNames, forms } from "../forms/table.ts";
import { FrostbitError } from "../ir/errors.ts";
import { dataKinds } from "../node/open-data.ts";
import { quantizeForTransformersJs } from "../node/quantize-for-transformers-js.ts";
import { type FormFile, quantizeWithoutData, type WithoutDataResult } from "../node/quantize-without-data.ts";
import { flagOf } from "../options/flag-of.ts";
import { formatBytes } from "../report/format-bytes.ts";
import { formatDigits } from "../report/format-digits.ts";
import type { Session, Values } from "./command.ts";
import { exitCodes } from "./errors.ts";
import { parseSchemaOptions } from "./options-from-schema.ts";
import { formatTable } from "./table.ts";

/** Of no other runs. */
export const withoutDataOptions = z.object({
  forms: z
    .array(z.enum(formNames))
    .min(1)
    .default([...defaultForms])
    .describe(
      `Without --data, what is written: ${Object.entries(forms)
        .map(([name, { summary }]) => `${name} ${summary}`)
        .join("; ")}.`,
    ),
  for: z
    .enum(["transformers.js"])
    .optional()
    .describe(
      "Of a Hugging Face folder, without --data: writes what transformers.js loads, onnx/model.onnx with its forms beside it, config.json and the tokenizer's files. With --text, a file of texts, q8 has ranges found on them, and q4 and q4f16 weights rounded for them.",
    ),
  sizes: z
    .record(z.string(), z.number().int().min(0))
    .default({})
    .describe(
      "Without --data, the sizes at which forms are compared and timed, by the name of an input's symbolic size (sequence=128): by default one sample, 224 pixels, sequences of 64, or of 16 or 4 where the model takes no more.",
    ),
});

/** Those of other runs that these have too. */
const sharedOptions = z.object({
  out: z.string().default("out"),
  groupSize: z.literal([16, 32, 64, 128, 256]).default(32),
  seed: z.int().min(0).default(0),
  threads: z.int().positive().optional(),
});

const ofCommand = ["json", "verbose"];

const textOption = z.object({ text: z.string().optional() });

/** Throws BAD_OPTION naming what only runs with data have. */
function checkNoOthers(values: Values): void {
  const ofFor = values["for"] === undefined ? [] : Object.keys(textOption.shape);
  const known = [...ofCommand, ...Object.keys(withoutDataOptions.shape), ...Object.keys(sharedOptions.shape), ...ofFor];
  const stray = Object.keys(values).filter((name) => values[name] !== undefined && !known.includes(name));
  if (stray.length === 0) return;
  throw new FrostbitError(
    "BAD_OPTION",
    `${stray.map(flagOf).join(", ")}: not without data. Give --data, ${dataKinds}, or --text for a language model; or leave it out: what needs no data is then written, and --forms chooses what.`,
  );
}

export async function runWithoutData(modelPath: string, values: Values, session: Session): Promise<void> {
  checkNoOthers(values);
  const { forms: chosen, sizes, for: reader } = parseSchemaOptions(withoutDataOptions, values);
  const { out, groupSize, seed, threads } = parseSchemaOptions(sharedOptions, values);
  const { text } = parseSchemaOptions(textOption, values);
  const choices = {
    out,
    forms: chosen,
    blockSize: groupSize,
    sizes,
    seed,
    signal: session.interrupt.signal,
    onProgress: session.progress.show,
    ...(threads === undefined ? {} : { threads }),
  };
  const result = reader
    ? await quantizeForTransformersJs({ folder: modelPath, ...choices, ...(text === undefined ? {} : { text }) })
    : await quantizeWithoutData({ modelPath, ...choices });
  session.print(result, tableOf(result, text));
  if (result.files.length === 0) process.exitCode = exitCodes.user;
}

const worst = (agreement: readonly Agreement[]): Agreement =>
  agreement.reduce((least, each) => (each.cosine < least.cosine ? each : least));

/** `text`: what forms learned from. */
function tableOf({ float, files, refused, sizes, best }: WithoutDataResult, text?: string): readonly string[] {
  const share = (part: number, whole: number): string => `${(part / whole).toFixed(2)}`;
  const row = ({ path, sizeBytes, milliseconds, agreement }: FormFile): readonly string[] => {
    const { sqnrDb, cosine } = worst(agreement);
    return [
      path,
      `${formatBytes(sizeBytes)} (${share(sizeBytes, float.sizeBytes)})`,
      `${formatDigits(milliseconds)} ms (${share(milliseconds, float.milliseconds)})`,
      sqnrDb === null ? "equal" : `${sqnrDb.toFixed(1)} dB`,
      cosine.toFixed(4),
    ];
  };
  const used = Object.entries(sizes).map(([name, size]) => `${name} ${size}`);
  const chosen = files.find(({ form }) => form === best);
  return [
    ...formatTable(
      ["file", "size", "a run", "SQNR", "cosine"],
      [[float.path, formatBytes(float.sizeBytes), `${formatDigits(float.milliseconds)} ms`, "", ""], ...files.map(row)],
    ),
    ...refused.map(({ form, reason }) => `${form} is not written. ${reason}`),
    `Run in ONNX Runtime on ${text === undefined ? "inputs that are made up" : `texts of ${text} that nothing was learned from`}${used.length === 0 ? "" : ` (${used.join(", ")})`}: cosine and SQNR of the output that is furthest from the float model's.`,
    chosen
      ? `Take ${chosen.path} (${summaryOf(chosen.form, text)}) on processors; ${ofGpus(files)}with --data, accuracy is measured${text === undefined ? ", and ranges and rounding are learned" : ""}.`
      : "None of them is near the float model (cosine 0.99). With --data, ranges and rounding are learned, and accuracy is measured.",
  ];
}

const summaryOf = (form: FormName, text: string | undefined): string =>
  (text === undefined ? undefined : forms[form].learned) ?? forms[form].summary;

/** Graphics processors compute in float16 themselves. */
function ofGpus(files: readonly FormFile[]): string {
  const half = files.filter(({ form }) => forms[form].isHalf).toSorted((a, b) => a.sizeBytes - b.sizeBytes)[0];
  return half ? `${half.path} where WebGPU computes in float16; ` : "";
}
