// frostbit evaluate: accuracy and loss of a file in ONNX Runtime; how well a language model predicts a text.
import type { Command } from "commander";
import { z } from "zod";
import type { Communicator } from "../distributed/communicator.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { accuracyName, type Metrics } from "../evaluate/metrics.ts";
import { evaluateOpened, evaluateOpenedAmong } from "../node/evaluate-file.ts";
import { evaluateText, evaluateTextAmong, type TextMetrics } from "../node/evaluate-text.ts";
import { openMetric } from "../node/open-metric.ts";
import { openRanks } from "../node/open-ranks.ts";
import { checkModelFile } from "../node/read-model.ts";
import { formatDigits } from "../report/format-digits.ts";
import { among } from "./among.ts";
import { createCommand, type Session, type Values } from "./command.ts";
import {
  imageOptions,
  metricOption,
  noteIdleImages,
  openDataset,
  preprocessFrom,
  preprocessOptions,
  testDataOptions,
} from "./data-options.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { engineOption, memoryOption, rankOption, threadsOption } from "./shared-options.ts";
import { checkDataOrText, textOptions, textOptionsOf } from "./text-options.ts";

const { data, limit, ...prepare } = testDataOptions.shape;

export const evaluateCommandOptions = z.object({
  data: data.optional(),
  ...textOptions.shape,
  limit: limit.describe("Use only the first N samples, or sequences of text."),
  ...prepare,
  ...metricOption.shape,
  output: z.string().optional().describe("The output that the labels are of, instead of the first."),
  engine: engineOption.shape.engine.describe("What runs a language model that is no ONNX file yet."),
  ...threadsOption.shape,
  ...memoryOption.shape,
  ...rankOption.shape,
});

/** What text has no use for. */
const ofData = [
  ...Object.keys(preprocessOptions.shape),
  ...Object.keys(imageOptions.shape),
  "output",
  "metric",
  "tokenizer",
  "maxMemory",
];

function printMetrics(metrics: Metrics): string {
  const { samples, top1, loss, meanIou, rmse, mae } = metrics;
  const { metric } = metrics;
  if (metric) return `${metric.name} ${formatDigits(metric.value)} of ${samples} samples`;
  const number = (value: number | null): string => (value === null ? "–" : formatDigits(value));
  if (metrics.labels === "values") return `RMSE ${number(rmse)}, MAE ${number(mae)} of ${samples} samples`;
  const overlap = meanIou === null ? "" : `, mean IoU ${meanIou.toFixed(2)} %`;
  return `${accuracyName(metrics)} ${top1?.toFixed(2)} % of ${samples} samples${overlap}, loss ${loss?.toFixed(4)}`;
}

const printTextMetrics = ({ perplexity, predictions, sequences, form, length }: TextMetrics): string =>
  `perplexity ${perplexity.toFixed(4)} of ${predictions} tokens in ${sequences} ${
    form === "packed" ? `windows of ${length}` : `documents of at most ${length}`
  }`;

export function evaluateCommand(): Command {
  const command = createCommand(
    "evaluate",
    "Measure a model file against labels in ONNX Runtime, with its default optimizations; or how well a language model predicts a text.",
    async ([path], values, session) => {
      const ranks = await openRanks(parseSchemaOptions(rankOption, values).rankTimeout * 1000);
      const act = async (communicator?: Communicator): Promise<void> => {
        checkDataOrText(values, ofData);
        await (values["text"] === undefined ? onData : onText)(path, values, session, communicator);
      };
      await (ranks ? among(ranks, session, act) : act());
    },
  ).argument("<model>", "An ONNX file; with --text also the folder of a language model.");
  return addSchemaOptions(command, evaluateCommandOptions);
}

async function onText(
  path: string,
  values: Values,
  { progress, interrupt, print }: Session,
  communicator?: Communicator,
): Promise<void> {
  const given = parseSchemaOptions(evaluateCommandOptions, values);
  const job = {
    modelPath: path,
    textPath: given.text ?? "",
    ...textOptionsOf(given),
    engine: given.engine,
    ...(given.threads === undefined ? {} : { threads: given.threads }),
    signal: interrupt.signal,
    onProgress: progress.show,
  };
  const result = await (communicator ? evaluateTextAmong(job, communicator) : evaluateText(job));
  if (result) print(result, [printTextMetrics(result)]);
}

async function onData(
  path: string,
  values: Values,
  { progress, interrupt, print, note }: Session,
  communicator?: Communicator,
): Promise<void> {
  const given = parseSchemaOptions(evaluateCommandOptions, values);
  const data = String(values["data"]);
  noteIdleImages(values, note, data);
  checkModelFile(path);
  const threads = given.threads === undefined ? {} : { threads: given.threads };
  const file = await openDeployed(path, { spinning: false, ...threads });
  try {
    const job = {
      modelPath: path,
      dataset: await openDataset({ ...given, data }, file.inputs, note),
      preprocess: preprocessFrom(given),
      ...(given.metric === undefined ? {} : { metric: await openMetric(given.metric) }),
      ...threads,
      signal: interrupt.signal,
      onProgress: progress.show,
      onNote: (text: string) => note(`note: ${text}`),
      ...(given.maxMemory === undefined ? {} : { maxMemory: given.maxMemory }),
      ...(given.output === undefined ? {} : { output: given.output }),
    };
    const result = await (communicator ? evaluateOpenedAmong(file, job, communicator) : evaluateOpened(file, job));
    if (result) print(result, [printMetrics(result)]);
  } finally {
    await file.dispose();
  }
}
