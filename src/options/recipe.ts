// A run as it is written down: in recipes, and as the library is told. One `quantize` entry, then a list of methods.
import type { z } from "zod";
import { closestName } from "../ir/closest-name.ts";
import { FrostbitError } from "../ir/errors.ts";
import { findMethod, methodNames, methodOf, methods } from "../methods/index.ts";
import type { Fields, Method, MethodStep } from "../methods/method.ts";
import { arrangeMethods, conflictsOf, gridConflicts } from "./arrange-methods.ts";
import { coreOf, expectedOf } from "./describe-type.ts";
import { type Goal, goalOptions } from "./goal.ts";
import { lostName } from "./lost-name.ts";
import { quantizationOptions, type RunOptions, wholeOptions } from "./run-options.ts";
import { targetConflicts, withTarget } from "./targets.ts";
import { unusedInQuantization, unusedInStep, unusedNotes } from "./unused-options.ts";

const recipeKeys = ["quantize", "methods", "goal", ...Object.keys(wholeOptions.shape)];

const bad = (where: string, message: string): FrostbitError => new FrostbitError("BAD_OPTION", `${where}: ${message}`);
const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function fieldsOf(value: unknown, where: string, keys: readonly string[]): Fields {
  if (!isFields(value)) throw bad(where, `expected names and values, of ${keys.join(", ") || "none"}.`);
  const unknown = Object.keys(value).find((key) => !keys.includes(key));
  if (unknown === undefined) return value;
  const near = closestName(unknown, keys);
  if (near !== undefined) throw bad(where, `${unknown}: no such option; did you mean ${near}?`);
  const owner = ownerOf(unknown);
  const hint = owner === undefined ? "" : `${owner} has it; `;
  throw bad(where, `${unknown}: no such option; ${hint}expected ${keys.length > 0 ? keys.join(", ") : "none"}.`);
}

/** The entry that has an option of this name. */
function ownerOf(name: string): string | undefined {
  if (Object.hasOwn(quantizationOptions.shape, name)) return "quantize";
  return methods.find(({ options }) => Object.hasOwn(options.shape, name))?.name;
}

interface Entry {
  readonly method: Method;
  readonly fields: Fields;
}

/** An entry is a method's name, or its name with its options. */
function entryOf(entry: unknown, where: string): Entry {
  const [pair, ...others] = isFields(entry) ? Object.entries(entry) : [[entry, {}] as const];
  const [name, fields] = pair ?? [];
  const method = typeof name === "string" && others.length === 0 ? findMethod(name) : undefined;
  if (!method) throw unknownMethod(entry, name, where);
  const keys = Object.keys(method.options.shape);
  return { method, fields: fieldsOf(fields ?? {}, `${where}.${method.name}`, keys) };
}

function unknownMethod(entry: unknown, name: unknown, where: string): FrostbitError {
  const near = typeof name === "string" ? closestName(name, methodNames) : undefined;
  const meant = near === undefined || near === name ? "expected" : `did you mean ${near}? Expected`;
  return bad(where, `it is ${JSON.stringify(entry)}; ${meant} one of ${methodNames.join(", ")}, with its options.`);
}

/** Reads a parsed recipe; `where` names it in messages. Throws BAD_OPTION, naming the entry at fault. */
export function runFromRecipe(content: unknown, where: string): RunOptions {
  const recipe = fieldsOf(content, where, recipeKeys);
  const shared = fieldsOf(recipe["quantize"] ?? {}, `${where}: quantize`, Object.keys(quantizationOptions.shape));
  const list = recipe["methods"] ?? [];
  if (!Array.isArray(list)) throw bad(`${where}: methods`, "expected a list.");
  const placeOf = (index: number): string => `${where}: methods[${index}]`;
  const entries = list.map((entry, i) => entryOf(entry, placeOf(i)));
  const quantize = parse(quantizationOptions, withTarget(shared), `${where}: quantize.`);
  const given = entries.map(({ method: { name, options }, fields }, i) => ({
    method: name,
    options: parse(options, fields, `${placeOf(i)}.${name}.`),
  }));
  checkTogether(quantize, given, where);
  const steps = arrangeMethods(given, (i, message) => {
    throw bad(`${placeOf(i)}.${given[i].method}`, message);
  });
  const whole = parse(wholeOptions, take(recipe, Object.keys(wholeOptions.shape)), `${where}: `);
  const goal = goalOf(recipe, Object.keys(shared), where);
  return { quantize, methods: steps, ...whole, ...(goal && { goal }) };
}

/** What was given of quantization is fixed. */
function goalOf(recipe: Fields, fixed: readonly string[], where: string): Goal | undefined {
  if (recipe["goal"] === undefined) return undefined;
  if (recipe["methods"] !== undefined)
    throw bad(`${where}: methods`, "a goal is reached by methods that Frostbit chooses. Give methods or a goal.");
  if (recipe["accuracies"] === "all")
    throw bad(
      `${where}: accuracies`,
      "all stages are measured of methods that are named: of a goal's, only what was tried is, in validation, and the file that was chosen. Run the recipe of the chosen file with accuracies: all, or leave it out.",
    );
  const place = `${where}: goal`;
  return { ...parse(goalOptions, fieldsOf(recipe["goal"], place, Object.keys(goalOptions.shape)), `${place}.`), fixed };
}

function parse<Schema extends z.ZodObject>(schema: Schema, given: Fields, place: string): z.output<Schema> {
  const result = schema.safeParse(given);
  if (result.success) {
    const lost = lostName(given, result.data);
    if (lost) throw new FrostbitError("BAD_OPTION", `${place}${lost.option}: nothing can be called ${lost.name}.`);
    return result.data;
  }
  const messages = result.error.issues.map(({ path, message }) => {
    const value = given[String(path[0])];
    const [, field] = Object.entries(schema.shape).find(([name]) => name === path[0]) ?? [];
    const expected = field ? expectedOf(coreOf(field), message, value) : message;
    return `${place}${path.map(String).join(".")} is ${JSON.stringify(value)}; ${expected}`;
  });
  throw new FrostbitError("BAD_OPTION", `${messages.join(". ")}.`);
}

/** Throws BAD_OPTION where options that are each right make no sense together. */
function checkTogether(quantize: RunOptions["quantize"], given: readonly MethodStep[], where: string): void {
  const messages = [
    ...targetConflicts(quantize).map(({ option, message }) => `${where}: quantize.${option} ${message}`),
    ...gridConflicts(quantize, given).map(({ option, message }) => `${where}: quantize.${option} ${message}`),
    ...conflictsOf(given).flatMap((conflicts, i) =>
      conflicts.map(({ option, message }) => `${where}: methods[${i}].${given[i].method}.${option} ${message}`),
    ),
  ];
  if (messages.length > 0) throw new FrostbitError("BAD_OPTION", `${messages.join(". ")}.`);
}

/** The fields of these names that have a value. */
const take = (from: Fields, keys: readonly string[]): Fields =>
  Object.fromEntries(Object.entries(from).filter(([key, value]) => keys.includes(key) && value !== undefined));

/** What differs from the defaults: a value equal to the default is not a choice. */
function chosenOf(schema: z.ZodObject, options: Fields): readonly string[] {
  const defaults: Fields = schema.parse({});
  return Object.keys(options).filter((name) => JSON.stringify(options[name]) !== JSON.stringify(defaults[name]));
}

/** What an entry says without effect. */
export function unusedInRecipe(run: RunOptions): readonly string[] {
  const ofQuantization = chosenOf(quantizationOptions, run.quantize).map((name) => ({
    name,
    choice: unusedInQuantization(run, name),
  }));
  const ofSteps = run.methods.flatMap((step) =>
    chosenOf(methodOf(step).options, step.options).map((name) => ({ name, choice: unusedInStep(step, name) })),
  );
  const found = [...ofQuantization, ...ofSteps].flatMap(({ name, choice }) =>
    choice ? [[name, choice] as const] : [],
  );
  return unusedNotes(found, (name) => name);
}

/** Throws BAD_OPTION where a run is not what `runOptions.parse` gives, as when it was changed since. */
export function checkRun(run: RunOptions): void {
  const steps: readonly unknown[] = isFields(run) && Array.isArray(run.methods) ? run.methods : [undefined];
  if (!steps.every((step) => isFields(step) && typeof step["method"] === "string" && isFields(step["options"])))
    throw bad("options", "expected what runOptions.parse gives; pass it what you have.");
  runFromRecipe(recipeOf(run), "options");
}

/** The recipe that gives this run again, every option written out. */
export function recipeOf({ quantize, methods: steps, goal, ...whole }: RunOptions): Fields {
  if (goal) {
    const { fixed, ...wanted } = goal;
    return { goal: wanted, quantize: take(quantize, fixed), ...take(whole, Object.keys(whole)) };
  }
  const entries = steps.map(({ method, options }) =>
    Object.keys(options).length > 0 ? { [method]: options } : method,
  );
  return { quantize: take(quantize, Object.keys(quantize)), methods: entries, ...take(whole, Object.keys(whole)) };
}

/**
 * Checks what a run is told and fills in what its target chooses and the defaults; the form is that of
 * recipes. Throws BAD_OPTION, naming the entry at fault.
 *
 * @example
 * const options = runOptions.parse({
 *   quantize: { weights: 4, activations: 8 },
 *   methods: ["cross-layer-equalization", { efqat: { updateRatio: 0.25 } }],
 * });
 */
export const runOptions: {
  /** `given`: what is not to have its default. Without `methods`, the model is quantized and nothing trains. */
  readonly parse: (given: Readonly<Record<string, unknown>>) => RunOptions;
} = {
  parse: (given) => runFromRecipe(given, "options"),
};
