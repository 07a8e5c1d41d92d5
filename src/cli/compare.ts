// frostbit compare: two files in ONNX Runtime, value by value.
import { dirname, resolve } from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import { type ComparedValue, type Comparison, compareModels, defaultThresholdDb } from "../compare/compare-models.ts";
import { createSession } from "../engines/onnxruntime/session.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { readModel } from "../node/read-model.ts";
import { readBytes } from "../node/storage.ts";
import { formatDigits } from "../report/format-digits.ts";
import { createCommand } from "./command.ts";
import {
  inputTypes,
  isPictures,
  noteIdleImages,
  openDataset,
  preprocessFrom,
  testDataOptions,
} from "./data-options.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { threadsOption } from "./shared-options.ts";
import { formatTable } from "./table.ts";

const options = z.object({
  ...testDataOptions.shape,
  limit: z.int().positive().default(32).describe("Samples to compare."),
  threshold: z
    .number()
    .default(defaultThresholdDb)
    .describe("SQNR in dB below which a value diverges: 20 suits float against 8 bits, 60 float against float."),
  ...threadsOption.shape,
});

/** What cannot be read here may still run in ONNX Runtime; how large its values are is not known then. */
function graphOf(path: string, note: (text: string) => void): { readonly graph?: Graph } {
  try {
    return { graph: readModel(path).graph };
  } catch (error) {
    if (!(error instanceof FrostbitError)) throw error;
    note(`All values of a batch are held in memory at once, since their sizes are not known: ${error.message}`);
    return {};
  }
}

export function compareCommand(): Command {
  const command = createCommand(
    "compare",
    "Run two models on the same data and compare all values that have the same name.",
    async ([first, second], values, { progress, interrupt, print, note }) => {
      const given = parseSchemaOptions(options, values);
      noteIdleImages(values, note, given.data);
      const threads = given.threads === undefined ? {} : { threads: given.threads };
      const bytes = [await readBytes(first), await readBytes(second)] as const;
      const pictured = isPictures(given.data) ? readModel(first).graph : undefined;
      const comparison = await compareModels(
        ...bytes,
        await openDataset(given, pictured ? inputTypes(pictured) : new Map(), note),
        {
          preprocess: preprocessFrom(given),
          ...(pictured ? { graph: pictured } : graphOf(first, note)),
          thresholdDb: given.threshold,
          open: (bytes, which) =>
            createSession(bytes, { ...threads, extra: externalDataBeside(which === 0 ? first : second) }),
          signal: interrupt.signal,
          onProgress: progress.show,
        },
      );
      print({ models: [first, second], ...comparison }, describe(comparison));
    },
  )
    .argument("<first>", "An ONNX file: the reference.")
    .argument("<second>", "An ONNX file.");
  return addSchemaOptions(command, options);
}

/** Bytes in memory have no folder in which external data could be found. */
const externalDataBeside = (path: string): Record<string, unknown> => ({
  session: { model_external_initializers_file_folder_path: dirname(resolve(path)) },
});

const row = ({ name, shape, sqnrDb, largest }: ComparedValue): readonly string[] => [
  name,
  `[${shape.join(", ")}]`,
  sqnrDb === null ? "equal" : sqnrDb.toFixed(1),
  formatDigits(largest),
];

function describe({ samples, values, firstDiverged, thresholdDb, incomparable }: Comparison): readonly string[] {
  return [
    ...formatTable(["value", "shape", "SQNR dB", "largest difference"], values.map(row), [
      "left",
      "left",
      "right",
      "right",
    ]),
    "",
    ...(incomparable.length > 0 ? [`Same name, other type or shape: ${incomparable.join(", ")}`] : []),
    firstDiverged === null
      ? `All ${values.length} values agree on ${samples} samples (SQNR of at least the threshold, ${thresholdDb} dB).`
      : `The first value that diverges (SQNR below the threshold, ${thresholdDb} dB, on ${samples} samples): ${firstDiverged}`,
  ];
}
