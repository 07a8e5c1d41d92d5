// From a zod schema to a command's options, and from what was typed back to a validated object.
import { type Command, Option } from "commander";
import type { z } from "zod";
import { FrostbitError } from "../ir/errors.ts";
import { coreOf, definitionOf, describeType, expectedOf } from "../options/describe-type.ts";
import { flagOf } from "../options/flag-of.ts";
import { lostName } from "../options/lost-name.ts";

/** What a field looks like beneath its default, optionality and description. */
interface Field {
  readonly core: z.core.$ZodType;
  readonly description: string;
  readonly fallback: unknown;
}

function fieldOf(schema: z.ZodType): Field {
  let core: z.core.$ZodType = schema;
  let description = schema.description ?? "";
  let fallback: unknown;
  for (let definition = definitionOf(core); definition.innerType; definition = definitionOf(core)) {
    if (definition.type === "default") fallback = definition.defaultValue;
    core = definition.innerType;
    description ||= (core as z.ZodType).description ?? "";
  }
  return { core, description, fallback };
}

/** `asymmetricWeights` → `--no-asymmetric-weights`: of a choice whose default depends on others. */
const negationOf = (name: string): string => flagOf(name).replace("--", "--no-");

/** Shorter names that flags have too. */
const shorter: Readonly<Record<string, string>> = { groupSize: "--group, " };

const placeholders: Readonly<Record<string, string>> = {
  number: " <number>",
  int: " <number>",
  string: " <text>",
  enum: " <choice>",
  literal: " <choice>",
  array: " <a,b,…>",
  record: " <name=value,…>",
  boolean: "",
};

function printDefault(value: unknown): string {
  if (
    value === undefined ||
    value === false ||
    (typeof value === "object" && value !== null && Object.keys(value).length === 0)
  )
    return "";
  return Array.isArray(value) ? value.join(",") : String(value);
}

export interface OptionDescription {
  readonly flag: string;
  /** What a value may be, in words; "" for a flag without a value. */
  readonly expected: string;
  readonly fallback: string;
  readonly description: string;
}

/** What a schema's fields are as options, for help and documents. */
export const describeOptions = (schema: z.ZodObject): readonly OptionDescription[] =>
  Object.entries(schema.shape).map(([name, value]) => {
    const { core, description, fallback } = fieldOf(value as z.ZodType);
    const { type } = definitionOf(core);
    const expected = type === "boolean" || type === "string" ? "" : (describeType(core) ?? "");
    return { flag: flagOf(name), expected, fallback: printDefault(fallback), description };
  });

/** Adds one option per field; defaults stay with the schema, so that what the user typed can be told from them. */
export function addSchemaOptions(command: Command, schema: z.ZodObject): Command {
  for (const [name, value] of Object.entries(schema.shape)) {
    const { core, description, fallback } = fieldOf(value as z.ZodType);
    const definition = definitionOf(core);
    const shown = printDefault(fallback);
    const option = new Option(
      `${shorter[name] ?? ""}${flagOf(name)}${placeholders[definition.type] ?? " <value>"}`,
      shown === "" ? description : `${description} (default: ${shown})`,
    );
    // Shown by the help; refused by the schema, which says more.
    const { entries } = definition.element ? definitionOf(definition.element) : definition;
    if (entries) option.argChoices = Object.values(entries);
    command.addOption(option);
    if (definition.type === "boolean" && fallback === undefined)
      command.addOption(new Option(negationOf(name), `Not ${flagOf(name)}, whatever the default.`));
  }
  return command;
}

/** Numbers may be fractions: `1/255`. Anything else stays text, for zod to refuse. */
function parseNumber(text: string): number | string {
  const parts = text.split("/").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  const value = parts.length === 2 ? parts[0] / parts[1] : parts[0];
  return parts.length > 2 || Number.isNaN(value) ? text : value;
}

const parseList = (text: string): readonly string[] =>
  text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");

/** `a=8,b=float`, or JSON where values are objects. */
function parseRecord(text: string, flag: string): unknown {
  if (text.trimStart().startsWith("{")) {
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new FrostbitError("BAD_OPTION", `${flag} is ${text}; expected name=value,… or JSON.`, { cause });
    }
  }
  return Object.fromEntries(
    parseList(text).map((part) => {
      const at = part.lastIndexOf("=");
      if (at < 1) throw new FrostbitError("BAD_OPTION", `${flag}: "${part}" has no "="; expected name=value,…`);
      return [part.slice(0, at), parseNumber(part.slice(at + 1))];
    }),
  );
}

function parseValue(core: z.core.$ZodType, given: unknown, flag: string): unknown {
  if (typeof given !== "string") return given;
  const definition = definitionOf(core);
  if (definition.type === "number" || definition.type === "literal") return parseNumber(given);
  if (definition.type === "record") return parseRecord(given, flag);
  if (definition.type === "union") return parseEither(definition.options ?? [], given, flag);
  if (definition.type !== "array" || !definition.element) return given;
  const { element } = definition;
  return parseList(given).map((part) => parseValue(element, part, flag));
}

/** As the first of the schemas that takes it. */
function parseEither(schemas: readonly z.core.$ZodType[], given: string, flag: string): unknown {
  const fitting = schemas
    .map((schema) => ({ schema, value: parseValue(coreOf(schema), given, flag) }))
    .find(({ schema, value }) => (schema as z.ZodType).safeParse(value).success);
  return fitting ? fitting.value : given;
}

const purposeOf = ({ description }: Field): string =>
  description === ""
    ? ""
    : `; it takes ${description.charAt(0).toLowerCase()}${description.slice(1).replace(/\.$/, "")}`;

/** The validated object. `given` is what commander collected; options that belong to other schemas are ignored. */
export function parseSchemaOptions<Schema extends z.ZodObject>(
  schema: Schema,
  given: Readonly<Record<string, unknown>>,
): z.output<Schema> {
  const fields = Object.entries(schema.shape).map(([name, value]) => [name, fieldOf(value as z.ZodType)] as const);
  const typed = Object.fromEntries(
    fields.flatMap(([name, { core }]) =>
      given[name] === undefined ? [] : [[name, parseValue(core, given[name], flagOf(name))]],
    ),
  );
  const result = schema.safeParse(typed);
  if (result.success) {
    const lost = lostName(typed, result.data);
    if (lost) throw new FrostbitError("BAD_OPTION", `${flagOf(lost.option)}: nothing can be called ${lost.name}.`);
    return result.data;
  }
  const messages = result.error.issues.map((issue) => {
    const name = String(issue.path[0]);
    const field = fields.find(([key]) => key === name);
    const value = given[name];
    if (issue.code === "custom") return `${flagOf(name)} ${issue.message}`;
    if (value === undefined) return `${flagOf(name)} is missing${field ? purposeOf(field[1]) : ""}`;
    return `${flagOf(name)} is ${String(value)}; ${field ? expectedOf(field[1].core, issue.message, typed[name]) : issue.message}`;
  });
  throw new FrostbitError("BAD_OPTION", `${messages.join(". ")}.`);
}
