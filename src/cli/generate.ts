// frostbit generate: text that goes on from a prompt, by a language model that quantize wrote.
import type { Command } from "commander";
import { z } from "zod";
import { type GeneratedText, generateText } from "../node/generate-text.ts";
import { escapeHidden } from "../report/escape-hidden.ts";
import { createCommand, type Session, type Values } from "./command.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { threadsOption } from "./shared-options.ts";

export const generateCommandOptions = z.object({
  prompt: z.string().describe("What the text begins with."),
  maxTokens: z.int().positive().default(200).describe("Tokens to add, at most."),
  temperature: z
    .number()
    .min(0)
    .default(0)
    .describe("How evenly tokens are drawn: logits are divided by it. 0 takes the likeliest token each time."),
  topP: z
    .number()
    .gt(0)
    .max(1)
    .default(1)
    .describe("Draws among the likeliest tokens that have this probability together."),
  seed: z.int().min(0).default(0).describe("Seed of what is drawn."),
  ...threadsOption.shape,
});

export function generateCommand(): Command {
  const command = createCommand(
    "generate",
    "Go on from a prompt with a language model that quantize wrote, in ONNX Runtime.",
    async ([path], values, session) => run(path, values, session),
  ).argument("<folder>", "What quantize wrote of a language model, or the ONNX file in it.");
  return addSchemaOptions(command, generateCommandOptions);
}

/** Line ends and tabs are the text's own; what joins characters is part of some. */
const shown = (text: string): string => escapeHidden(text, "\n\t\u200d");

async function run(path: string, values: Values, { interrupt, print, note }: Session): Promise<void> {
  const { threads, ...given } = parseSchemaOptions(generateCommandOptions, values);
  const streams = values["json"] !== true;
  const write = (text: string): void => {
    if (streams) process.stdout.write(shown(text));
  };
  let begun = "";
  interrupt.arm(false);
  try {
    const result = await generateText({
      modelPath: path,
      ...given,
      ...(threads === undefined ? {} : { threads }),
      signal: interrupt.signal,
      onText: (piece) => {
        write(begun === "" ? `${given.prompt}${piece}` : piece);
        begun = "\n";
      },
    });
    write(begun === "" ? `${given.prompt}\n` : "\n");
    if (streams) note(summaryOf(result));
    else print(result, []);
  } catch (error) {
    write(begun);
    throw error;
  }
}

const ends: Readonly<Record<GeneratedText["end"], string>> = {
  token: "the model ended it",
  maxTokens: "as many as --max-tokens",
  context: "the model's context is full",
};

function summaryOf({ promptTokens, tokens, end, tokensPerSecond: { prompt, text } }: GeneratedText): string {
  const rate = (value: number): string => `${value.toFixed(value < 10 ? 2 : 0)} tokens/s`;
  return `${tokens} tokens (${ends[end]})${text === null ? "" : `, ${rate(text)}`}; prompt of ${promptTokens}, ${rate(prompt)}`;
}
