// frostbit evaluate: accuracy and loss of a file in ONNX Runtime.
import type { Command } from "commander";
import { z } from "zod";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { accuracyName, type Metrics } from "../evaluate/metrics.ts";
import { evaluateOpened } from "../node/evaluate-file.ts";
import { checkModelFile } from "../node/read-model.ts";
import { formatDigits } from "../report/format-digits.ts";
import { createCommand } from "./command.ts";
import { noteIdleImages, openDataset, preprocessFrom, testDataOptions } from "./data-options.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { threadsOption } from "./shared-options.ts";

const options = z.object({
  ...testDataOptions.shape,
  output: z.string().optional().describe("The output that the labels are of, instead of the first."),
  ...threadsOption.shape,
});

function printMetrics(metrics: Metrics): string {
  const { samples, top1, loss, meanIou, rmse, mae } = metrics;
  const number = (value: number | null): string => (value === null ? "–" : formatDigits(value));
  if (metrics.labels === "values") return `RMSE ${number(rmse)}, MAE ${number(mae)} of ${samples} samples`;
  const overlap = meanIou === null ? "" : `, mean IoU ${meanIou.toFixed(2)} %`;
  return `${accuracyName(metrics)} ${top1?.toFixed(2)} % of ${samples} samples${overlap}, loss ${loss?.toFixed(4)}`;
}

export function evaluateCommand(): Command {
  const command = createCommand(
    "evaluate",
    "Measure a model file against labels in ONNX Runtime, with its default optimizations.",
    async ([path], values, { progress, interrupt, print, note }) => {
      const given = parseSchemaOptions(options, values);
      noteIdleImages(values, note, given.data);
      checkModelFile(path);
      const file = await openDeployed(path, given.threads === undefined ? {} : { threads: given.threads });
      try {
        const result = await evaluateOpened(file, {
          dataset: await openDataset(given, file.inputs, note),
          preprocess: preprocessFrom(given),
          signal: interrupt.signal,
          onProgress: progress.show,
          onNote: (text) => note(`note: ${text}`),
          ...(given.output === undefined ? {} : { output: given.output }),
        });
        print(result, [printMetrics(result)]);
      } finally {
        await file.dispose();
      }
    },
  ).argument("<model>", "An ONNX file.");
  return addSchemaOptions(command, options);
}
