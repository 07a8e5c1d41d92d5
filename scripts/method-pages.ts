// The pages of docs/methods/, from the READMEs beside the code and the schemas of their options.
import { posix } from "node:path";
import type { z } from "zod";
import { efqatOptions } from "../src/methods/efqat/options.ts";
import { quantizeOptions } from "../src/quantizers/quantize-options.ts";
import { trainingOptions } from "../src/training/options.ts";
import { optionTable } from "./markdown.ts";

interface Page {
  readonly readme: string;
  readonly options: Readonly<Record<string, z.ZodObject>>;
}

const quantization = { "Options of quantization": quantizeOptions };
const training = { "Options of training": trainingOptions };

const pages: Readonly<Record<string, Page>> = {
  ptq: { readme: "src/calibration/README.md", options: quantization },
  efqat: {
    readme: "src/methods/efqat/README.md",
    options: { "Options of EfQAT": efqatOptions, ...training, ...quantization },
  },
  qat: { readme: "src/methods/qat/README.md", options: { ...training, ...quantization } },
  "float-training": { readme: "src/training/README.md", options: training },
  losses: { readme: "src/training/losses.md", options: { Options: trainingOptions.pick({ loss: true }) } },
  "range-training": {
    readme: "src/training/range-training.md",
    options: {
      Options: trainingOptions.pick({
        qparamTraining: true,
        qparamLr: true,
        optimizer: true,
        lr: true,
        schedule: true,
      }),
    },
  },
  "batch-statistics": {
    readme: "src/training/batch-statistics.md",
    options: {
      Options: trainingOptions.pick({ freezeStatistics: true, reestimateStatistics: true, accumulate: true }),
    },
  },
  equalization: { readme: "src/methods/equalization/README.md", options: quantization },
  "bias-correction": { readme: "src/methods/bias-correction/README.md", options: quantization },
};

const pageOf = new Map(Object.entries(pages).map(([name, { readme }]) => [readme, `${name}.md`]));

/** Links relative to the README lead to the same from docs/methods/; those to other READMEs, to their pages. */
const relinked = (text: string, readme: string): string =>
  text.replaceAll(/\]\((?!https?:|#)([^)#\s]+)/g, (_, link: string) => {
    const target = posix.join(posix.dirname(readme), link);
    return `](${pageOf.get(target) ?? posix.relative("docs/methods", target)}`;
  });

/** File names and their texts; `read` gives a file of the repository. */
export const methodPages = (read: (path: string) => string): ReadonlyMap<string, string> =>
  new Map(
    Object.entries(pages).map(([name, { readme, options }]) => [
      `methods/${name}.md`,
      `${[
        `<!-- Written by scripts/write-docs.ts from ${readme} and the options' schemas. -->`,
        relinked(read(readme).trimEnd(), readme),
        ...Object.entries(options).map(([title, schema]) => `## ${title}\n\n${optionTable(schema)}`),
      ].join("\n\n")}\n`,
    ]),
  );
