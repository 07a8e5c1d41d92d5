// docs/commands.md and docs/options.md: what can be typed, from the commands themselves and the options' schemas.
import { z } from "zod";
import { describeOptions } from "../src/cli/options-from-schema.ts";
import { createProgram } from "../src/cli/program.ts";
import { methods } from "../src/methods/index.ts";
import type { Method } from "../src/methods/method.ts";
import { quantizationOptions, wholeOptions } from "../src/options/run-options.ts";
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

What a [recipe](guide/recipes.md) and \`runOptions.parse\` of the [library](api/README.md) take: \`quantize\` with the options of quantization, \`methods\` with each method's own, and those of the run. As flags of \`frostbit quantize\` they are spelled \`--calibration-samples\`, all in a row; a flag goes to the methods of \`--method\` and \`--prepare\` that have such an option. A name that is not here, a value outside its range, and options that contradict each other are refused, naming the option.
`;

const trainingNames = Object.keys(trainingOptions.shape);

/** A method's options, less those of all training. */
const own = ({ options }: Method): z.ZodObject =>
  z.object(Object.fromEntries(Object.entries(options.shape).filter(([name]) => !trainingNames.includes(name))));

const sections: readonly (readonly [title: string, schema: z.ZodObject])[] = [
  ["The run", wholeOptions],
  ["Quantization", quantizationOptions],
  ...methods.map((method) => [`The method ${method.name}`, own(method)] as const),
  ["Training", trainingOptions],
];

const methodList = methods.map(({ name, summary }) => `- \`${name}\` ${summary}: [its page](methods/${name}.md).`);

export const optionsPage = (): string =>
  [
    optionsIntroduction,
    `## Methods\n\n${methodList.join("\n")}\n`,
    ...sections.flatMap(([title, schema]) => {
      const names = Object.keys(schema.shape);
      if (names.length === 0) return [];
      const rows = describeOptions(schema).map(({ expected, fallback, description }, i) => [
        `\`${names[i]}\``,
        expected || (fallback === "" ? "true or false" : ""),
        fallback || "–",
        description,
      ]);
      return `## ${title}\n\n${table(["option", "takes", "default", "meaning"], rows)}\n`;
    }),
  ].join("\n");
