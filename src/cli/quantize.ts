// frostbit quantize: model and data in; quantized model, report and checkpoints out.
import type { Command } from "commander";
import { z } from "zod";
import type { Source } from "../data/dataset.ts";
import type { Communicator } from "../distributed/communicator.ts";
import { accuracyName } from "../evaluate/metrics.ts";
import type { Stage } from "../evaluate/stages.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { planOf } from "../ladder/plan.ts";
import { openMetric } from "../node/open-metric.ts";
import { openRanks } from "../node/open-ranks.ts";
import { openTextSource } from "../node/open-text.ts";
import {
  type QuantizeFileJob,
  type QuantizeFileResult,
  quantizeFile,
  quantizeFileAmong,
} from "../node/quantize-file.ts";
import { readModel } from "../node/read-model.ts";
import { readRecipe } from "../node/recipe-file.ts";
import { flagOf } from "../options/flag-of.ts";
import { unusedInRecipe } from "../options/recipe.ts";
import type { RunOptions } from "../options/run-options.ts";
import { chooseEngine } from "../quantize/choose-engine.ts";
import { formatBytes } from "../report/format-bytes.ts";
import { formatDigits } from "../report/format-digits.ts";
import type { OutputReport, Report } from "../report/report.ts";
import { among } from "./among.ts";
import { createCommand, type Session, type Values } from "./command.ts";
import {
  imageOptions,
  metricOption,
  preprocessFrom,
  preprocessOptions,
  sourceOpener,
  sourceOptions,
} from "./data-options.ts";
import { exitCodes } from "./errors.ts";
import { runFlags, runFromFlags } from "./method-flags.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { formatSeconds } from "./progress.ts";
import { computeOptions, memoryOption, rankOption } from "./shared-options.ts";
import { formatTable } from "./table.ts";
import { checkDataOrText, textOptions, textOptionsOf } from "./text-options.ts";
import { runWithoutData, withoutDataOptions } from "./without-data.ts";

const textSourceOptions = z.object({
  ...textOptions.shape,
  testText: z
    .string()
    .optional()
    .describe("Text to test with, cut as evaluate cuts it; else a seeded tenth of the windows is held out."),
});

/** Data, or text for a language model. */
export const dataOrTextOptions = z.object({
  ...sourceOptions.shape,
  data: sourceOptions.shape.data.optional(),
  ...textSourceOptions.shape,
});

export const quantizeCommandOptions = z.object({
  ...dataOrTextOptions.shape,
  ...metricOption.shape,
  recipe: z
    .string()
    .optional()
    .describe("YAML file with the options of quantization and a list of methods, instead of their flags."),
  out: z.string().default("out").describe("Folder for model.onnx, report.html, report.json and the checkpoint."),
  ...computeOptions.shape,
  ...memoryOption.shape,
  ...rankOption.shape,
  resume: z
    .boolean()
    .default(false)
    .describe("Go on from the checkpoint in --out, to the bytes of a run never stopped."),
  explain: z.boolean().default(false).describe("Show what would be tried for the goal, in which order, and end."),
  acceptLoss: z
    .boolean()
    .default(false)
    .describe("End with code 0 though the file lost so much that it is not of use, as the table then says."),
  overwrite: z.boolean().default(false).describe("Replace what another run trained in --out, which is else refused."),
});

const examples = `
Examples:
  Without data: float16, 8 and 4 bits, compared with the float model
    frostbit quantize model.onnx
  A Hugging Face folder as transformers.js loads it
    frostbit quantize minilm/ --for transformers.js
  8 bits without training, for speed:
    frostbit quantize model.onnx --data images:pictures/ --preprocess imagenet --method ptq --placement runtime
  4-bit weights, the most important 5 % of the channels trained:
    frostbit quantize model.onnx --data images:pictures/ --preprocess imagenet --weights 4 --out out4/
  After Ctrl-C or a crash, the same command again with
    --resume`;

export function quantizeCommand(): Command {
  const command = createCommand(
    "quantize",
    "Quantize a model, train what is quantized, verify it in ONNX Runtime.",
    run,
    { keepsStep: isTraining },
  ).argument("<model>", "An ONNX file, or the folder of a language model.");
  for (const schema of [quantizeCommandOptions, withoutDataOptions, preprocessOptions, imageOptions, runFlags])
    addSchemaOptions(command, schema);
  return command.addHelpText("after", examples);
}

async function run([modelPath]: readonly string[], values: Values, session: Session): Promise<void> {
  const { rankTimeout } = parseSchemaOptions(rankOption, values);
  const ranks = await openRanks(rankTimeout * 1000);
  if (ranks) return among(ranks, session, (communicator) => runAmong(communicator, modelPath, values, session));
  if (!needsData(values)) return runWithoutData(modelPath, values, session);
  if (parseSchemaOptions(quantizeCommandOptions, values).explain) {
    const plan = planOf(await runOf(withTextDefaults(values), session));
    session.print(
      { plan },
      formatTable(
        ["", "tried", "as"],
        plan.map(({ name, flags }, i) => [`${i + 1}.`, name, flags]),
      ),
    );
    return;
  }
  show(await quantizeWith(modelPath, values, session), values, session);
}

function show(result: QuantizeFileResult, values: Values, session: Session): void {
  session.print(summaryOf(result), tableOf(result, values["text"] !== undefined));
  const { acceptLoss } = parseSchemaOptions(quantizeCommandOptions, values);
  if (result.report.losses.length > 0 && !acceptLoss) process.exitCode = exitCodes.user;
}

async function runAmong(
  communicator: Communicator,
  modelPath: string,
  values: Values,
  session: Session,
): Promise<void> {
  if (!needsData(values) || values["explain"] === true)
    throw new FrostbitError(
      "BAD_OPTION",
      `${communicator.size} processes share a run with data, and ${values["explain"] === true ? "--explain computes nothing" : "this one has none"}. Start one.`,
    );
  const result = await quantizeFileAmong(await jobOf(modelPath, values, session), communicator);
  if (result) show(withNotes(result, session), values, session);
}

/** A plan is of a goal, which data decide. */
function needsData(values: Values): boolean {
  const isFor = values["for"] !== undefined && values["data"] === undefined;
  const given = ["data", ...(isFor ? [] : ["text"]), "explain"].find((name) => values[name] !== undefined);
  const stray = Object.keys(withoutDataOptions.shape).find((name) => values[name] !== undefined);
  if (given !== undefined && stray !== undefined)
    throw new FrostbitError(
      "BAD_OPTION",
      `${flagOf(stray)} belongs to runs without data. Leave it out, or ${flagOf(given)}.`,
    );
  return given !== undefined;
}

/** The run that `values`, the command's options, ask for; notes are printed. */
export const quantizeWith = async (modelPath: string, values: Values, session: Session): Promise<QuantizeFileResult> =>
  withNotes(await quantizeFile(await jobOf(modelPath, values, session)), session);

function withNotes(result: QuantizeFileResult, session: Session): QuantizeFileResult {
  for (const note of result.report.notes) session.note(note);
  return result;
}

async function jobOf(modelPath: string, values: Values, session: Session): Promise<QuantizeFileJob> {
  checkDataOrText(values, ofData, ofText);
  const options = await runOf(withTextDefaults(values), session);
  const isNoted = new Set(unusedInRecipe(options));
  const { out, engine, precision, threads, tune, maxMemory, resume, overwrite } = parseSchemaOptions(
    quantizeCommandOptions,
    values,
  );
  const model = readModel(modelPath);
  const { metric } = parseSchemaOptions(metricOption, values);
  const source = await sourceOf(modelPath, model.graph, values, session)(options.seed);
  return {
    modelPath,
    model,
    source,
    ...(metric === undefined ? {} : { metric: await openMetric(metric) }),
    preprocess: preprocessFrom(parseSchemaOptions(preprocessOptions, values)),
    options,
    out,
    engine: chooseEngine(engine, model.graph, options),
    tune,
    resume,
    overwrite,
    signal: session.interrupt.signal,
    onProgress: session.progress.show,
    onNote: (text) => (isNoted.has(text) ? undefined : session.note(text)),
    ...(maxMemory === undefined ? {} : { maxMemory }),
    ...(precision === "auto" ? {} : { precision }),
    ...(threads === undefined ? {} : { threads }),
  };
}

/** A checkpoint keeps what a step of training learned. */
export const isTraining = (phase: string): boolean => phase.startsWith("train");

/** What text has no use for, and what data have none for. */
export const ofData = [
  "testData",
  "metric",
  "tokenizer",
  ...Object.keys(preprocessOptions.shape),
  ...Object.keys(imageOptions.shape),
];
export const ofText = [...Object.keys(textOptions.shape), "testText"];

/** Flags that a language model has where none are given: runtimes run its weights in groups, and its activations as floats; gptq takes minutes. */
const forText: Values = { activations: "float", groupSize: "64", method: "gptq" };

const withTextDefaults = (values: Values): Values =>
  values["text"] !== undefined && values["recipe"] === undefined ? { ...forText, ...values } : values;

/** Opens the data or the text that the command names; a seed decides what is held out. */
export function sourceOf(
  modelPath: string,
  graph: Graph,
  values: Values,
  { note }: Pick<Session, "note">,
): (seed: number) => Promise<Source> {
  const given = parseSchemaOptions(textSourceOptions, values);
  const { text, testText } = given;
  if (text === undefined) return sourceOpener(values, graph, note);
  return (seed) =>
    openTextSource(modelPath, text, {
      ...textOptionsOf(given),
      seed,
      ...(testText === undefined ? {} : { testText }),
    });
}

/** From the recipe, or from the flags; what of them has no effect is noted. */
async function runOf(values: Values, { note }: Session): Promise<RunOptions> {
  const recipe = values["recipe"];
  if (typeof recipe !== "string") {
    const { run, unused } = runFromFlags(values);
    for (const text of unused) note(text);
    return run;
  }
  const flags = Object.keys(runFlags.shape).filter((name) => values[name] !== undefined);
  if (flags.length > 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `--recipe says how to quantize and train, and so does ${flags.map(flagOf).join(", ")}. Give one or the other.`,
    );
  const run = await readRecipe(recipe);
  for (const text of unusedInRecipe(run)) note(`${recipe}: ${text}`);
  return run;
}

/** What --json prints. */
export function summaryOf({ modelPath, reportPath, report }: QuantizeFileResult): object {
  const { engine, seconds, peakMemoryMb, sizeBytes, top1, metrics, fidelity, losses, latencyMs, verification } = report;
  return {
    model: modelPath,
    report: reportPath,
    usable: losses.length === 0,
    losses,
    engine,
    seconds: seconds.total,
    peakMemoryMb,
    sizeBytes,
    top1,
    metrics,
    fidelity,
    latencyMs,
    verification,
  };
}

const perplexityOf = (metrics: Report["metrics"][Stage]): string =>
  metrics?.loss == null ? "–" : Math.exp(metrics.loss).toFixed(4);

/** The figures that the labels give, one a row. */
function metricsRows(
  { metrics, top1 }: Report,
  stages: readonly Stage[],
  isText: boolean,
): readonly (readonly string[])[] {
  const known = stages.map((stage) => metrics[stage]);
  const [first] = known.filter((one) => one !== undefined);
  const row = (name: string, show: (stage: Stage, index: number) => string): readonly string[] => [
    name,
    ...stages.map(show),
  ];
  const percent = (value: number | null | undefined): string => (value == null ? "–" : `${value.toFixed(2)} %`);
  const digits = (value: number | null | undefined): string => (value == null ? "–" : formatDigits(value));
  if (first?.metric) return [row(first.metric.name, (_, i) => digits(known[i]?.metric?.value))];
  if (first?.labels === "values")
    return [row("RMSE", (_, i) => digits(known[i]?.rmse)), row("MAE", (_, i) => digits(known[i]?.mae))];
  if (isText) return [row("perplexity", (_, i) => perplexityOf(known[i]))];
  return [
    row(first ? accuracyName(first) : "top-1", (stage) => percent(top1[stage])),
    ...(first && first.meanIou !== null ? [row("mean IoU", (_, i) => percent(known[i]?.meanIou))] : []),
  ];
}

/** Without class labels: each output's SQNR against the float model, and how often it names the same class. */
function fidelityRows(
  fidelity: NonNullable<Report["fidelity"]>,
  stages: readonly Stage[],
): readonly (readonly string[])[] {
  const outputs = fidelity["deployed"] ?? [];
  const cells = (show: (output: OutputReport) => string, index: number): readonly string[] =>
    stages.map((stage) => {
      const output = fidelity[stage]?.[index];
      return output ? show(output) : stage === "float" ? "" : "–";
    });
  // Whole numbers have no SQNR: they are the same or not.
  const same = ({ agreement }: OutputReport): string => (agreement === null || agreement === 1 ? "equal" : "–");
  const decibels = (output: OutputReport): string =>
    output.sqnrDb === null ? same(output) : `${output.sqnrDb.toFixed(1)} dB`;
  const least = ({ leastChannelDb }: OutputReport): string =>
    leastChannelDb === null ? "equal" : `${leastChannelDb.toFixed(1)} dB`;
  const agreement = (output: OutputReport): string => `${(100 * (output.agreement ?? 0)).toFixed(2)} %`;
  return outputs.flatMap(({ name, leastChannelDb, agreement: shared }, index) => [
    [`SQNR ${name}`, ...cells(decibels, index)],
    ...(leastChannelDb === null ? [] : [["  of a channel", ...cells(least, index)]]),
    ...(shared === null ? [] : [[`same ${name}`, ...cells(agreement, index)]]),
  ]);
}

const agreementOf = ({ argmaxAgreement, sqnrDb }: NonNullable<Report["verification"]>): string =>
  argmaxAgreement === null
    ? `outputs at ${sqnrDb === null ? "no difference" : `${sqnrDb.toFixed(1)} dB SQNR at least`}`
    : `argmax agreement ${(100 * argmaxAgreement).toFixed(1)} %`;

const unusable = ({ losses }: Report): readonly string[] =>
  losses.length === 0
    ? []
    : [
        "Not usable: the file computes what was quantized, and that lost too much.",
        ...losses.map((loss) => `- ${loss}`),
        "More bits, --layers NAME=float for the layers that report.html shows as sensitive, or training keep more; --accept-loss accepts it.",
        "",
      ];

function tableOf({ modelPath, reportPath, report }: QuantizeFileResult, isText: boolean): readonly string[] {
  const { stages, metrics, fidelity, sizeBytes, bitsPerWeight, latencyMs, verification, seconds } = report;
  const kilobytes = (bytes: number): string => (bytes < 1e4 ? formatBytes(bytes) : `${(bytes / 1000).toFixed(0)} kB`);
  const milliseconds = (value: number): string => `${formatDigits(value)} ms`;
  const { float, deployed } = latencyMs;
  const ends = (title: string, before: string, after: string): readonly string[] => [
    title,
    ...stages.map((stage) => (stage === "float" ? before : stage === "deployed" ? after : "")),
  ];
  const table = formatTable(
    ["", ...stages],
    [
      ...(fidelity && Object.keys(metrics).length === 0 ? [] : metricsRows(report, stages, isText)),
      ...(fidelity ? fidelityRows(fidelity, stages) : []),
      ends("size", kilobytes(sizeBytes.float), kilobytes(sizeBytes.quantized)),
      ...(bitsPerWeight === null ? [] : [ends("bits a weight", "", bitsPerWeight.toFixed(3))]),
      ends("batch 1", milliseconds(float.batch1), milliseconds(deployed.batch1)),
      ...(float.batch256 === null || deployed.batch256 === null
        ? []
        : [ends("batch 256", milliseconds(float.batch256), milliseconds(deployed.batch256))]),
    ],
  );
  const verified = verification
    ? [
        `Verified in ONNX Runtime on ${verification.samples} samples: layers within ${verification.maxSteps.toFixed(2)} steps, ${agreementOf(verification)}.`,
      ]
    : [];
  return [
    ...unusable(report),
    ...table,
    ...verified,
    `${modelPath} and ${reportPath} written in ${formatSeconds(seconds.total)}.`,
  ];
}
