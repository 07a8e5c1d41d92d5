// Markdown that the written pages have in common.
import type { z } from "zod";
import { describeOptions } from "../src/cli/options-from-schema.ts";

const cell = (text: string): string => text.replaceAll("|", "\\|");

export const table = (header: readonly string[], rows: readonly (readonly string[])[]): string =>
  [header, header.map(() => "---"), ...rows.map((row) => row.map(cell))]
    .map((row) => `| ${row.join(" | ")} |`)
    .join("\n");

export const optionTable = (schema: z.ZodObject): string =>
  table(
    ["option", "takes", "default", "meaning"],
    describeOptions(schema).map(({ flag, expected, fallback, description }) => [
      `\`${flag}\``,
      expected,
      fallback || "–",
      description,
    ]),
  );
