// What an option's schema takes, in words.
import type { z } from "zod";
import { closestName } from "../ir/closest-name.ts";

export type Definition = z.core.$ZodType["_zod"]["def"] & {
  readonly innerType?: z.core.$ZodType;
  readonly defaultValue?: unknown;
  readonly element?: z.core.$ZodType;
  readonly entries?: Readonly<Record<string, string>>;
  readonly options?: readonly z.core.$ZodType[];
  readonly values?: readonly unknown[];
  readonly valueType?: z.core.$ZodType;
  readonly shape?: Readonly<Record<string, z.core.$ZodType>>;
};

export const definitionOf = (schema: z.core.$ZodType): Definition => schema._zod.def as Definition;

interface Bound {
  readonly value: number;
  readonly inclusive: boolean;
}

/** The tightest bound of one side; the limits of safe integers, which every whole number has, do not count. */
function boundOf(core: z.core.$ZodType, check: "greater_than" | "less_than"): Bound | undefined {
  const checks = (definitionOf(core).checks ?? []).map((item) => item._zod.def as { check: string } & Partial<Bound>);
  const found = checks.find((item) => item.check === check && Math.abs(Number(item.value)) < Number.MAX_SAFE_INTEGER);
  return found && { value: Number(found.value), inclusive: found.inclusive === true };
}

const orList = (words: readonly string[]): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;

const quoted = (value: unknown): string => JSON.stringify(value);

/** Of a text that must match a pattern, what the pattern's message says. */
function formatWords(core: z.core.$ZodType): string | undefined {
  const checks = (definitionOf(core).checks ?? []).map(
    (item) => item._zod.def as unknown as { error?: (issue: object) => unknown },
  );
  const words = checks.map(({ error }) => error?.({})).find((message) => typeof message === "string");
  return (words as string | undefined)?.replace(/^expected /, "");
}

/** What a value may be, in words; `undefined` for types that no option has, and for any text. */
export function describeType(core: z.core.$ZodType): string | undefined {
  const { type, entries, options, values, element, valueType, shape } = definitionOf(core);
  const all = (list: readonly z.core.$ZodType[]): string => orList(list.map((item) => describeType(item) ?? "a value"));
  if (type === "number") return numberWords(core);
  if (type === "enum" && entries) return orList(Object.values(entries).map(quoted));
  if (type === "literal" && values) return orList(values.map(quoted));
  if (type === "union" && options) return all(options);
  if (type === "array" && element) {
    const each = describeType(element);
    return `values separated by commas${each === undefined ? "" : `, each ${each}`}`;
  }
  if (type === "string") return formatWords(core);
  if (type === "record" && valueType) return `name=value,… with each value ${all([valueType])}`;
  return type === "object" && shape ? `JSON with ${Object.keys(shape).map(quoted).join(", ")}` : undefined;
}

/** What a field takes, in words, after the choice that `given`, which it refused, may have meant. */
export function expectedOf(core: z.core.$ZodType, message: string, given: unknown): string {
  const words = describeType(core);
  if (words === undefined) return message.replace(/^Invalid [^:]*: /, "");
  const meant = closestChoice(core, given);
  return meant === undefined ? `expected ${words}` : `did you mean ${quoted(meant)}? Expected ${words}`;
}

/** Of a choice, or of a list of choices. */
function closestChoice(core: z.core.$ZodType, given: unknown): string | undefined {
  const { entries, element } = definitionOf(core);
  if (element && Array.isArray(given))
    return given.map((item) => closestChoice(element, item)).find((item) => item !== undefined);
  const choices = Object.values(entries ?? {});
  return typeof given === "string" && !choices.includes(given) ? closestName(given, choices) : undefined;
}

function numberWords(core: z.core.$ZodType): string {
  const what = (core as z.ZodNumber).isInt ? "a whole number" : "a number";
  const [low, high] = [boundOf(core, "greater_than"), boundOf(core, "less_than")];
  if (low && high) return `${what} from ${low.value} to ${high.value}`;
  if (low) return `${what} ${low.inclusive ? "of at least" : "above"} ${low.value}`;
  return `${what}${high ? ` of at most ${high.value}` : ""}`;
}

/** The schema beneath defaults and optionality. */
export function coreOf(schema: z.core.$ZodType): z.core.$ZodType {
  const { innerType } = definitionOf(schema);
  return innerType ? coreOf(innerType) : schema;
}
