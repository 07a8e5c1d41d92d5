// Options of commands that read text for a language model.
import { z } from "zod";
import { FrostbitError } from "../ir/errors.ts";
import { dataKinds } from "../node/open-data.ts";
import type { TextOptions } from "../node/open-text.ts";
import { flagOf } from "../options/flag-of.ts";
import type { Values } from "./command.ts";

export const textOptions = z.object({
  text: z
    .string()
    .optional()
    .describe(
      "Text for a language model, instead of --data: .json or .jsonl of documents (strings, or objects with a text), else plain text.",
    ),
  textForm: z
    .enum(["documents", "packed"])
    .optional()
    .describe(
      "How text is cut: each document by itself (of .json and .jsonl), or all of it into full windows (of plain text).",
    ),
  length: z
    .int()
    .min(2)
    .optional()
    .describe("Tokens of a document or window, at most: by default the model's context, of windows at most 2048."),
});

export const textOptionsOf = ({
  textForm,
  length,
  limit,
}: {
  readonly textForm?: TextOptions["form"] | undefined;
  readonly length?: number | undefined;
  readonly limit?: number | undefined;
}): TextOptions => ({
  ...(textForm !== undefined && { form: textForm }),
  ...(length !== undefined && { length }),
  ...(limit !== undefined && { limit }),
});

/** Throws BAD_OPTION where both data and text are given, or neither, or options of the one with the other. */
export function checkDataOrText(
  values: Values,
  ofData: readonly string[],
  ofText: readonly string[] = Object.keys(textOptions.shape),
): void {
  const isText = values["text"] !== undefined;
  if (isText === (values["data"] !== undefined))
    throw new FrostbitError(
      "BAD_OPTION",
      isText
        ? "--data and --text are both given. Give one of them."
        : `--data is missing; it takes ${dataKinds}. Language models take --text instead.`,
    );
  const others = isText ? ofData : ofText;
  const [stray] = others.filter((name) => values[name] !== undefined).map(flagOf);
  if (stray === undefined) return;
  throw new FrostbitError("BAD_OPTION", `${stray} belongs to ${isText ? "--data" : "--text"}. Leave it out.`);
}
