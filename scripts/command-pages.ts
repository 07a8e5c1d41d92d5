// docs/commands.md and docs/options.md: what can be typed, from the commands themselves and the options' schemas.
import { z } from "zod";
import { describeOptions } from "../src/cli/options-from-schema.ts";
import { createProgram } from "../src/cli/program.ts";
import { efqatOptions } from "../src/methods/efqat/options.ts";
import { runSchema } from "../src/options/run-options.ts";
import { quantizeOptions } from "../src/quantizers/quantize-options.ts";
import { trainingOptions } from "../src/training/options.ts";
import { table } from "./markdown.ts";

const commandsIntroduction = `<!-- Written by scripts/write-docs.ts from src/cli/. -->

# Commands

\`npx frostbit COMMAND --help\` prints the same. With \`--json\` the last line on standard output is one JSON object; progress and notes go to standard error. Exit codes: 0; 1 for an error of what was given, with a message that says what to change; 70 for one of Frostbit's own; 130 after Ctrl-C. Numbers may be fractions (\`--scale 1/255\`), lists have commas.
`;

export function commandsPage(): string {
  const program = createProgram();
  const parts = program.commands.map((command) => {
    const words = command.registeredArguments
      .map((argument) => (argument.required ? ` <${argument.name()}>` : ` [${argument.name()}]`))
      .join("");
    const rows = command.options.map(({ flags, description, argChoices }) => [
      `\`${flags}\``,
      argChoices ? argChoices.join(", ") : "",
      description,
    ]);
    const options = rows.length === 0 ? "" : `\n${table(["option", "choices", "meaning"], rows)}\n`;
    return `## frostbit ${command.name()}${words}\n\n${command.description()}\n${options}`;
  });
  return [commandsIntroduction, ...parts].join("\n");
}

const optionsIntroduction = `<!-- Written by scripts/write-docs.ts from the options' schemas. -->

# Options

What \`runOptions.parse\` of the [library](api/README.md) takes, and with the same names a [recipe](guide/recipes.md). As flags of \`frostbit quantize\` they are spelled \`--calibration-samples\`. A name that is not here, a value outside its range, and options that contradict each other are refused, naming the option.
`;

const elsewhere = new Set([quantizeOptions, efqatOptions, trainingOptions].flatMap(({ shape }) => Object.keys(shape)));

const own = z.object(Object.fromEntries(Object.entries(runSchema.shape).filter(([name]) => !elsewhere.has(name))));

const sections: Readonly<Record<string, z.ZodObject>> = {
  "The run": own,
  Quantization: quantizeOptions,
  EfQAT: efqatOptions,
  "Training: EfQAT, QAT and float": trainingOptions,
};

export const optionsPage = (): string =>
  [
    optionsIntroduction,
    ...Object.entries(sections).map(([title, schema]) => {
      const names = Object.keys(schema.shape);
      const rows = describeOptions(schema).map(({ expected, fallback, description }, i) => [
        `\`${names[i]}\``,
        expected || (fallback === "" ? "true or false" : ""),
        fallback || "–",
        description,
      ]);
      return `## ${title}\n\n${table(["option", "takes", "default", "meaning"], rows)}\n`;
    }),
  ].join("\n");
