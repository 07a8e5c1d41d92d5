// docs/report.md: every field of report.json, from its schema.
import type { z } from "zod";
import { reportSchema } from "../src/report/report.ts";
import { table } from "./markdown.ts";

type Definition = z.core.$ZodType["_zod"]["def"] & {
  readonly innerType?: z.core.$ZodType;
  readonly element?: z.core.$ZodType;
  readonly valueType?: z.core.$ZodType;
  readonly values?: readonly unknown[];
  readonly shape?: Readonly<Record<string, z.core.$ZodType>>;
};

interface Field {
  readonly path: string;
  readonly type: string;
  readonly meaning: string;
}

const definitionOf = (schema: z.core.$ZodType): Definition => schema._zod.def as Definition;

function wordsOf(schema: z.core.$ZodType): string {
  const { type, innerType, element, valueType, values } = definitionOf(schema);
  if (type === "nullable" && innerType) return `${wordsOf(innerType)} or null`;
  if (type === "array" && element) return `list of ${wordsOf(element)}`;
  if (type === "record" && valueType) return `${wordsOf(valueType)} by name`;
  if (type === "literal" && values) return values.map((value) => JSON.stringify(value)).join(", ");
  if (type === "number") return (schema as z.ZodNumber).isInt ? "whole number" : "number";
  const names: Readonly<Record<string, string>> = { string: "text", boolean: "true or false", unknown: "anything" };
  return names[type] ?? type;
}

/** A field, and those within it. */
function fieldsOf(schema: z.core.$ZodType, path: string): readonly Field[] {
  let [core, meaning, within] = [schema, (schema as z.ZodType).description ?? "", path];
  for (;;) {
    const { type, innerType, element, valueType, shape } = definitionOf(core);
    if (shape) {
      const fields = Object.entries(shape).flatMap(([name, value]) =>
        fieldsOf(value, within === "" ? name : `${within}.${name}`),
      );
      return path === "" ? fields : [{ path, type: wordsOf(schema), meaning }, ...fields];
    }
    const next = innerType ?? element ?? valueType;
    if (!next) return [{ path, type: wordsOf(schema), meaning }];
    if (type === "array") within += "[]";
    if (type === "record") within += ".NAME";
    core = next;
    meaning ||= (core as z.ZodType).description ?? "";
  }
}

const introduction = `<!-- Written by scripts/write-docs.ts from src/report/report.ts. -->

# The report

\`report.json\` in \`--out\` holds all that a run found and measured; \`report.html\` is made of nothing else. How to read it: [evaluate, compare, inspect](guide/evaluate-and-compare.md#read-the-report). A program checks one with \`reportSchema.parse(JSON.parse(text))\`. Fields are added in later versions, not removed.

Words are the [glossary](glossary.md)'s. Sizes are in bytes, times in the unit that the name ends in.
`;

export const reportPage = (): string =>
  `${introduction}
${table(
  ["field", "holds", "meaning"],
  fieldsOf(reportSchema, "").map(({ path, type, meaning }) => [`\`${path}\``, type, meaning]),
)}
`;
