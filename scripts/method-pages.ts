// The pages of docs/methods/, from the READMEs beside the code and the schemas of their options.
import { posix } from "node:path";
import { z } from "zod";
import { methods } from "../src/methods/index.ts";
import type { Method } from "../src/methods/method.ts";
import { quantizeOptions } from "../src/quantizers/quantize-options.ts";
import { trainingOptions } from "../src/training/options.ts";
import { optionTable } from "./markdown.ts";

interface Page {
  readonly readme: string;
  readonly options: Readonly<Record<string, z.ZodObject>>;
}

const trainingNames = Object.keys(trainingOptions.shape);

/** Of the method alone, of training where it trains, and of quantization where it has to do with that. */
function optionsOf({ name, options, phase, training }: Method): Page["options"] {
  const isOfTraining = (option: string): boolean => training !== "none" && trainingNames.includes(option);
  const own = Object.entries(options.shape).filter(([option]) => !isOfTraining(option));
  return {
    ...(own.length === 0 ? {} : { [`Options of ${name}`]: z.object(Object.fromEntries(own)) }),
    ...(training === "none" ? {} : { "Options of training": trainingOptions }),
    ...(phase === "float-training" ? {} : { "Options of quantization": quantizeOptions }),
  };
}

const pages: Readonly<Record<string, Page>> = {
  ...Object.fromEntries(
    methods.map((method) => [
      method.name,
      { readme: `src/methods/${method.name}/README.md`, options: optionsOf(method) },
    ]),
  ),
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
