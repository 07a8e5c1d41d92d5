// frostbit quickstart: what quantizing does, on the network and data that come with Frostbit.
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { z } from "zod";
import { assert } from "../ir/errors.ts";
import type { QuantizeFileResult } from "../node/quantize-file.ts";
import { flagOf } from "../options/flag-of.ts";
import { formatBytes } from "../report/format-bytes.ts";
import { createCommand, type Session, type Values } from "./command.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { formatSeconds } from "./progress.ts";
import { isTraining, quantizeWith, summaryOf } from "./quantize.ts";
import { formatTable } from "./table.ts";

const commandOptions = z.object({
  out: z.string().default(join("out", "quickstart")).describe("Folder for the model and its report."),
});

/** Few steps on a small network want larger learning rates than the defaults. */
const settings = {
  preprocess: "unit",
  weights: "4",
  activations: "4",
  calibrationSamples: "2048",
  method: "efqat",
  mode: "cwpl",
  updateRatio: "0.25",
  lr: "0.03",
  qparamLr: "0.002",
  schedule: "cosine",
  batch: "64",
  epochs: "2",
  augment: "flip",
};

const next =
  "npx frostbit quantize model.onnx --data images:pictures/ --preprocess imagenet --weights 4 --activations 8 --out out/";

export function quickstartCommand(): Command {
  const command = createCommand(
    "quickstart",
    "Quantize the network that comes with Frostbit to 4 bits: a first run that needs no model or data of your own.",
    run,
    { keepsStep: isTraining },
  );
  return addSchemaOptions(command, commandOptions);
}

async function run(_: readonly string[], values: Values, session: Session): Promise<void> {
  const { out } = parseSchemaOptions(commandOptions, values);
  const shapes = relative(process.cwd(), fileURLToPath(new URL("../../examples/shapes", import.meta.url)));
  const model = join(shapes, "shapes.onnx");
  const options = { data: `module:${join(shapes, "shapes.js")}`, ...settings, out };
  session.note(commandOf(model, options));
  session.note("");
  // Its own folder holds nothing that a second run would not give again.
  const overwrite = values["out"] === undefined;
  const result = await quantizeWith(model, { ...options, overwrite }, session);
  const wonBackPercent = wonBackOf(result);
  session.print({ ...summaryOf(result), wonBackPercent, next }, describe(result, wonBackPercent));
}

/** What a user types for the same run. */
const commandOf = (model: string, options: Readonly<Record<string, string>>): string =>
  `npx frostbit quantize ${model} ${Object.entries(options)
    .map(([name, value]) => `${flagOf(name)} ${value}`)
    .join(" ")}`;

/** How much of the accuracy that rounding costs the exported file has again, per cent. */
function wonBackOf({ report: { top1 } }: QuantizeFileResult): number {
  const { float, ptq, deployed } = top1;
  assert(float !== null && ptq !== null && deployed !== null && float > ptq, "the quickstart measured no loss");
  return (100 * (deployed - ptq)) / (float - ptq);
}

function describe({ modelPath, reportPath, report }: QuantizeFileResult, wonBackPercent: number): readonly string[] {
  const { top1, sizeBytes, seconds, data } = report;
  const percent = (value: number | null): string => `${value?.toFixed(2)} %`;
  const table = formatTable(
    ["", "top-1", "size"],
    [
      ["float", percent(top1.float), formatBytes(sizeBytes.float)],
      ["4 bits, rounded (min-max PTQ)", percent(top1.ptq), ""],
      ["4 bits, trained (EfQAT), in ONNX Runtime", percent(top1.deployed), formatBytes(sizeBytes.quantized)],
    ],
    ["left", "right", "right"],
  );
  return [
    ...table,
    "",
    `On ${data.testSamples} test images. Training a quarter of each layer's channels at a time won back ${wonBackPercent.toFixed(0)} % of what rounding lost.`,
    `${modelPath} is verified in ONNX Runtime; ${reportPath} shows how it came about. ${formatSeconds(seconds.total)} in all.`,
    "",
    "Next, with a model and pictures of your own, a folder a class (docs/guide/quantize-a-cnn.md has other data, and more):",
    "",
    `  ${next}`,
  ];
}
