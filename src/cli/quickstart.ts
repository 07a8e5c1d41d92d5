// frostbit quickstart: what quantizing does, on the network and data that come with Frostbit.
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { z } from "zod";
import { assert } from "../ir/errors.ts";
import type { QuantizeFileResult } from "../node/quantize-file.ts";
import { flagOf } from "../options/flag-of.ts";
import { formatBytes } from "../report/format-bytes.ts";
import { printDrop } from "../report/print-drop.ts";
import { createCommand, type Session, type Values } from "./command.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { formatSeconds } from "./progress.ts";
import { isTraining, quantizeWith, summaryOf } from "./quantize.ts";
import { formatTable } from "./table.ts";

const commandOptions = z.object({
  out: z.string().default(join("out", "quickstart")).describe("Folder for the model and its report."),
});

const settings = { preprocess: "unit", maxDrop: "1", budget: "1m" };

const next = "npx frostbit quantize model.onnx --data images:pictures/ --preprocess imagenet --max-drop 1 --out out/";

export function quickstartCommand(): Command {
  const command = createCommand(
    "quickstart",
    "Quantize the network that comes with Frostbit, as small as a loss of one point allows: a first run that needs no model or data of your own.",
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
  const { ladder } = result.report;
  session.print({ ...summaryOf(result), ladder, next }, describe(result));
}

/** What a user types for the same run. */
const commandOf = (model: string, options: Readonly<Record<string, string>>): string =>
  `npx frostbit quantize ${model} ${Object.entries(options)
    .map(([name, value]) => `${flagOf(name)} ${value}`)
    .join(" ")}`;

function describe({ modelPath, reportPath, report }: QuantizeFileResult): readonly string[] {
  const { top1, sizeBytes, latencyMs, seconds, data, ladder } = report;
  assert(ladder, "the quickstart has a goal");
  const percent = (value: number | null): string => `${value?.toFixed(2)} %`;
  const milliseconds = (value: number): string => `${value.toPrecision(3)} ms`;
  const tried = formatTable(
    ["", "lost in validation", "size", "of float's time"],
    ladder.rungs.map(({ name, isChosen, drop, sizeBytes: bytes, latency, why }) => [
      isChosen ? `${name} (chosen)` : name,
      drop ? printDrop(drop) : (why ?? "–"),
      bytes === null ? "–" : formatBytes(bytes),
      latency === null ? "–" : latency.toFixed(2),
    ]),
    ["left", "right", "right", "right"],
  );
  const table = formatTable(
    ["", "top-1", "size", "a sample"],
    [
      ["float", percent(top1.float), formatBytes(sizeBytes.float), milliseconds(latencyMs.float.batch1)],
      [
        "in ONNX Runtime",
        percent(top1.deployed),
        formatBytes(sizeBytes.quantized),
        milliseconds(latencyMs.deployed.batch1),
      ],
    ],
    ["left", "right", "right", "right"],
  );
  return [
    ...tried,
    "",
    ...table,
    "",
    `On ${data.testSamples} test images, which decided nothing: ${ladder.validation.samples} others, held out of the training data, did.`,
    `${modelPath} is verified in ONNX Runtime; ${reportPath} shows how it came about. ${formatSeconds(seconds.total)} in all.`,
    "",
    "Next, with a model and pictures of your own, a folder a class (docs/guide/goals.md has other goals, docs/guide/quantize-a-cnn.md other data):",
    "",
    `  ${next}`,
  ];
}
