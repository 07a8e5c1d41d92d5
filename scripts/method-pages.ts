// The pages of docs/methods/, from the methods' READMEs and the schemas of their options.
import type { z } from "zod";
import { describeOptions } from "../src/cli/options-from-schema.ts";
import { efqatOptions } from "../src/methods/efqat/options.ts";
import { quantizeOptions } from "../src/quantizers/quantize-options.ts";
import { trainingOptions } from "../src/training/options.ts";

const schemas: Readonly<Record<string, Readonly<Record<string, z.ZodObject>>>> = {
  efqat: {
    "Options of EfQAT": efqatOptions,
    "Options of training": trainingOptions,
    "Options of quantization": quantizeOptions,
  },
  equalization: { "Options of quantization": quantizeOptions },
  "bias-correction": { "Options of quantization": quantizeOptions },
  qat: { "Options of training": trainingOptions, "Options of quantization": quantizeOptions },
};

const cell = (text: string): string => text.replaceAll("|", "\\|");

const table = (schema: z.ZodObject): string =>
  [
    "| option | default | meaning |",
    "|---|---|---|",
    ...describeOptions(schema).map(
      ({ flag, values, fallback, description }) =>
        `| \`${flag}${cell(values)}\` | ${fallback || "–"} | ${cell(description)} |`,
    ),
  ].join("\n");

/** File names and their texts; `read` gives a file of the repository. */
export const methodPages = (read: (path: string) => string): ReadonlyMap<string, string> =>
  new Map(
    Object.entries(schemas).map(([method, parts]) => [
      `${method}.md`,
      [
        `<!-- Written by scripts/write-docs.ts from src/methods/${method}/README.md and the options' schemas. -->`,
        read(`src/methods/${method}/README.md`).trimEnd(),
        ...Object.entries(parts).map(([title, schema]) => `## ${title}\n\n${table(schema)}`),
        "",
      ]
        .join("\n\n")
        .replace(/\n+$/, "\n"),
    ]),
  );
