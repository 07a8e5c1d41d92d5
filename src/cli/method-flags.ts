// The options of a run as flags: flat, each name once. A flag that several methods have goes to those that --method names.
import { z } from "zod";
import { FrostbitError } from "../ir/errors.ts";
import { adaroundMethod } from "../methods/adaround/method.ts";
import { gptqMethod } from "../methods/gptq/method.ts";
import { methodNames, methodOf, methods, rankOf } from "../methods/index.ts";
import type { Fields, Method, MethodStep } from "../methods/method.ts";
import { outputErrorRangesMethod } from "../methods/output-error-ranges/method.ts";
import { ptqMethod } from "../methods/ptq/method.ts";
import { arrangeMethods, conflictsOf, gridConflicts } from "../options/arrange-methods.ts";
import { flagOf } from "../options/flag-of.ts";
import { budgetOptions, goalOptions } from "../options/goal.ts";
import { runFromRecipe } from "../options/recipe.ts";
import { quantizationOptions, type RunOptions, resumes, wholeOptions } from "../options/run-options.ts";
import { targetConflicts, withTarget } from "../options/targets.ts";
import { type Choice, unusedInQuantization, unusedInStep, unusedNotes } from "../options/unused-options.ts";
import type { Values } from "./command.ts";
import { parseSchemaOptions } from "./options-from-schema.ts";

const preparing = methods.filter(({ phase }) =>
  ["before-calibration", "rounding", "after-calibration"].includes(phase),
);
const namesOf = (list: typeof methods): [string, ...string[]] => list.map(({ name }) => name) as [string, ...string[]];
const summariesOf = (list: typeof methods): string => list.map(({ name, summary }) => `${name} ${summary}`).join("; ");

export const methodFlags = z.object({
  method: z
    .array(z.enum(methodNames))
    .min(1)
    .optional()
    .describe(
      `What is done, one method or several: ${summariesOf(methods)}. Where neither a method nor an option of one is given, what is tried is chosen for the goal: \`maxDrop\`, \`budget\` and what the file may take; an option of a method that trains means efqat.`,
    ),
  prepare: z
    .array(z.enum(namesOf(preparing)))
    .default([])
    .describe(
      "Methods before training, besides --method. Of --method ptq alone, with weights of fewer than 8 bits and no --observer: output-error-ranges, with observer mse. Of --method gptq or adaround alone, with activations of fewer than 8 bits and no --observer: observer mse.",
    ),
});

/** One schema for each name: where methods mean different things by it, either. */
function optionsOfMethods(): z.ZodObject {
  const names = [...new Set(methods.flatMap(({ options }) => Object.keys(options.shape)))];
  return z.object(Object.fromEntries(names.map((name) => [name, flagSchema(name)])));
}

const ownersOf = (name: string) => methods.filter(({ options }) => Object.hasOwn(options.shape, name));

function flagSchema(name: string): z.ZodType {
  const owners = ownersOf(name);
  const schemas = [...new Set(owners.map(({ options }) => options.shape[name] as z.ZodType))];
  if (schemas.length === 1) return schemas[0];
  return z.union(schemas).describe(meaningsOf(name, owners).join(" "));
}

/** What an option of this name means, with the methods that mean it where not all do. */
function meaningsOf(name: string, owners: typeof methods): readonly string[] {
  const descriptionIn = ({ options }: Method): string => (options.shape[name] as z.ZodType).description ?? "";
  const descriptions = [...new Set(owners.map(descriptionIn))];
  if (descriptions.length === 1) return descriptions;
  return descriptions.map((description) => {
    const having = owners.filter((owner) => descriptionIn(owner) === description);
    return `${having.map((method) => method.name).join(", ")}: ${description}`;
  });
}

/** Of every method, and of no other schema. */
export const stepFlags = optionsOfMethods();

/** The counts of samples that differ by what is done with them. */
const counts = ["calibrationSamples", "roundingSamples", "trainingSamples"] as const;

const countFlags = z.object({
  samples: z
    .int()
    .min(8)
    .optional()
    .describe(
      "Training samples for everything that is done with a few of them: `calibrationSamples`, `roundingSamples` and `trainingSamples` where these are not given; of a goal, calibration alone.",
    ),
});

/** Everything that a run can be told, as flags. */
export const runFlags = z.object({
  ...methodFlags.shape,
  ...countFlags.shape,
  ...quantizationOptions.shape,
  ...stepFlags.shape,
  ...wholeOptions.shape,
  ...goalOptions.shape,
});

interface Given {
  readonly run: RunOptions;
  /** What has no effect, in sentences. */
  readonly unused: readonly string[];
}

/** Throws BAD_OPTION, naming the flag at fault. */
export function runFromFlags(flags: Values): Given {
  if (isGoal(flags)) return { run: runForGoal(withCounts(flags, [])), unused: [] };
  checkNoGoal(flags);
  const ranged = withRanges(flags);
  const { method = ["efqat"], prepare } = parseSchemaOptions(methodFlags, ranged);
  const named = [...prepare, ...calledFor(ranged, [...prepare, ...method]), ...method].map((name) =>
    methodOf({ method: name }),
  );
  const inOrder = named.toSorted((a, b) => rankOf(a) - rankOf(b));
  const values = withCounts(ranged, inOrder);
  const elsewhere = inOrder.map((each) => meantForOthers(each, inOrder, values));
  const quantize = parseSchemaOptions(quantizationOptions, withTarget(values));
  const given = inOrder.map(({ name, options }, i) => ({
    method: name,
    options: parseSchemaOptions(options, without(values, elsewhere[i])),
  }));
  const steps = arrangeMethods(given, (index, message) => {
    const { method: name } = given[index];
    throw new FrostbitError(
      "BAD_OPTION",
      `${flagOf(method.includes(name) ? "method" : "prepare")} ${name}: ${message}`,
    );
  });
  checkTogether(quantize, steps);
  checkWithoutOwner(values, steps);
  const run = { quantize, methods: steps, ...parseSchemaOptions(wholeOptions, values) };
  const partly = elsewhere.flatMap((names, i) =>
    names.map((name) => `${flagOf(name)} ${values[name]}: no effect in ${given[i].method}, which does not take it.`),
  );
  return { run, unused: [...unusedFlags(run, flags, method.join(",")), ...partly] };
}

/** Each count that quantization, or a method of the run, has. */
function withCounts({ samples, ...values }: Values, named: readonly Method[]): Values {
  if (parseSchemaOptions(countFlags, { samples }).samples === undefined) return values;
  const schemas = [quantizationOptions, ...named.map(({ options }) => options)];
  const isTaken = (name: string): boolean => schemas.some(({ shape }) => Object.hasOwn(shape, name));
  return { ...Object.fromEntries(counts.filter(isTaken).map((name) => [name, samples])), ...values };
}

/** Where nothing trains activation ranges and no flag chooses them: those that keep accuracy at widths where the whole range loses it. */
function withRanges(values: Values): Values {
  const { method, prepare, weights, activations, observer, weightGrid } = values;
  if (observer !== undefined || weightGrid !== undefined || activations === "float") return values;
  const hasNarrowWeights = Number(weights ?? 8) < 8 || calledFor(values, []).length > 0;
  if (method === ptqMethod.name && prepare === undefined && hasNarrowWeights)
    return { ...values, prepare: outputErrorRangesMethod.name, observer: "mse" };
  const isRounding = [gptqMethod, adaroundMethod].some(({ name }) => name === method);
  return isRounding && Number(activations ?? 8) < 8 ? { ...values, observer: "mse" } : values;
}

/** Of a goal alone: budgets are of mixed precision too. */
const ofGoal = Object.keys(goalOptions.shape).filter((name) => !Object.hasOwn(budgetOptions.shape, name));

const givenOf = (values: Values, schema: z.ZodObject): readonly string[] =>
  Object.keys(schema.shape).filter((name) => values[name] !== undefined);

/** Whether no method is named, and no option of one but what the file may take. */
const isGoal = (values: Values): boolean =>
  givenOf(values, methodFlags).length === 0 &&
  givenOf(values, stepFlags).every((name) => Object.hasOwn(budgetOptions.shape, name));

function runForGoal(values: Values): RunOptions {
  const given = (schema: z.ZodObject): Fields => {
    const parsed: Fields = parseSchemaOptions(schema, values);
    return Object.fromEntries(givenOf(values, schema).map((name) => [name, parsed[name]]));
  };
  checkTogether(parseSchemaOptions(quantizationOptions, withTarget(values)), []);
  return runFromRecipe(
    { quantize: given(quantizationOptions), goal: given(goalOptions), ...given(wholeOptions) },
    "options",
  );
}

function checkNoGoal(values: Values): void {
  const [flag] = ofGoal.filter((name) => values[name] !== undefined);
  if (flag === undefined) return;
  const [other] = [...givenOf(values, methodFlags), ...givenOf(values, stepFlags)].filter(
    (name) => !ofGoal.includes(name),
  );
  throw new FrostbitError(
    "BAD_OPTION",
    `${flagOf(flag)} is a goal, for which Frostbit chooses the methods, and ${flagOf(other)} names what is done. Give one of them.`,
  );
}

/** Methods that a flag calls for and that are not named. */
const calledFor = (values: Values, named: readonly string[]): readonly string[] =>
  methods
    .filter(({ name, calledBy }) => !named.includes(name) && calledBy.some((option) => values[option] !== undefined))
    .map(({ name }) => name);

const without = (values: Values, names: readonly string[]): Values =>
  Object.fromEntries(Object.entries(values).filter(([name]) => !names.includes(name)));

/** Flags that this method does not take as they are, and another method of the run does: both have an option of that name. */
const meantForOthers = (method: Method, all: readonly Method[], values: Values): readonly string[] =>
  Object.keys(method.options.shape).filter(
    (name) =>
      values[name] !== undefined && !takes(method, name, values) && all.some((other) => takes(other, name, values)),
  );

function takes({ options }: Method, name: string, values: Values): boolean {
  if (!Object.hasOwn(options.shape, name)) return false;
  try {
    parseSchemaOptions(z.object({ [name]: options.shape[name] }), values);
    return true;
  } catch (error) {
    if (error instanceof FrostbitError) return false;
    throw error;
  }
}

function checkTogether(quantize: RunOptions["quantize"], steps: readonly MethodStep[]): void {
  const conflicts = [...targetConflicts(quantize), ...gridConflicts(quantize, steps), ...conflictsOf(steps).flat()];
  const messages = new Set(conflicts.map(({ option, message }) => `${flagOf(option)} ${message}`));
  if (messages.size > 0) throw new FrostbitError("BAD_OPTION", `${[...messages].join(". ")}.`);
}

const stepsWith = (name: string, steps: readonly MethodStep[]): readonly MethodStep[] =>
  steps.filter((step) => Object.hasOwn(methodOf(step).options.shape, name));

/** A flag that no method of the run has is checked as the methods that have it do. */
function checkWithoutOwner(values: Values, steps: readonly MethodStep[]): void {
  const names = Object.keys(stepFlags.shape).filter((name) => stepsWith(name, steps).length === 0);
  parseSchemaOptions(z.object(Object.fromEntries(names.map((name) => [name, stepFlags.shape[name]]))), values);
}

/** Flags of the command that have an effect where something trains. */
const trainingFlags = ["precision", "resume"];

function unusedFlags(run: RunOptions, values: Values, method: string): readonly string[] {
  const names = [...Object.keys(runFlags.shape), ...trainingFlags].filter((name) => values[name] !== undefined);
  const found = names.flatMap((name) => {
    const choice = unusedFlag(run, name, method);
    return choice ? [[name, choice] as const] : [];
  });
  return unusedNotes(found, (name) => flagOf(name));
}

function unusedFlag(run: RunOptions, name: string, method: string): Choice | undefined {
  if (trainingFlags.includes(name)) return run.methods.some(resumes) ? undefined : { by: "method", value: method };
  if (!Object.hasOwn(stepFlags.shape, name)) return unusedInQuantization(run, name);
  const steps = stepsWith(name, run.methods);
  if (steps.length === 0) return { by: "method", value: method };
  const choices = steps.map((step) => unusedInStep(step, name));
  return choices.every((choice) => choice !== undefined) ? choices[0] : undefined;
}
