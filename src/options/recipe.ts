// Recipes: one `quantize` entry, then a list of methods, each with its own options; checked by the same schema as the flags.
import { FrostbitError } from "../ir/errors.ts";
import { efqatOptions } from "../methods/efqat/options.ts";
import { quantizeOptions } from "../quantizers/quantize-options.ts";
import { trainingOptions } from "../training/options.ts";
import { closestName } from "./closest-name.ts";
import { coreOf, expectedOf } from "./describe-type.ts";
import { type RunOptions, runSchema } from "./run-options.ts";
import { withTarget } from "./targets.ts";
import { unusedNotes } from "./unused-options.ts";

/** The first training method's options, with all of quantization's, and those of the methods that train after it. */
export interface Run {
  readonly options: RunOptions;
  readonly later: readonly RunOptions[];
}

type Fields = Readonly<Record<string, unknown>>;

const quantizeKeys = [
  "target",
  ...Object.keys(quantizeOptions.shape).filter((key) => key !== "prepare"),
  "storage",
  "outputs",
];
const trainingKeys = Object.keys(trainingOptions.shape);
const preparing = ["cross-layer-equalization", "bias-correction"] as const;

/** What each method's entry may hold. */
const methodKeys: Readonly<Record<string, readonly string[]>> = {
  "cross-layer-equalization": [],
  "bias-correction": [],
  efqat: [...Object.keys(efqatOptions.shape), ...trainingKeys],
  qat: trainingKeys,
  float: trainingKeys,
};
const runKeys = ["seed", "accuracies", "limit"];
const recipeKeys = ["quantize", "methods", ...runKeys];

const bad = (where: string, message: string): FrostbitError => new FrostbitError("BAD_OPTION", `${where}: ${message}`);
const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function fieldsOf(value: unknown, where: string, keys: readonly string[]): Fields {
  if (!isFields(value)) throw bad(where, `expected names and values, of ${keys.join(", ") || "none"}.`);
  const unknown = Object.keys(value).find((key) => !keys.includes(key));
  if (unknown === undefined) return value;
  const near = closestName(unknown, keys);
  const owner = Object.keys(methodKeys).find((method) => methodKeys[method].includes(unknown));
  if (near !== undefined) throw bad(where, `${unknown}: no such option; did you mean ${near}?`);
  const hint = owner === undefined ? "" : `${owner} has it; `;
  throw bad(where, `${unknown}: no such option; ${hint}expected ${keys.length > 0 ? keys.join(", ") : "none"}.`);
}

interface Step {
  readonly method: string;
  readonly where: string;
  readonly fields: Fields;
}

/** An entry is a method's name, or its name with its options. */
function stepOf(entry: unknown, where: string): Step {
  const [pair, ...others] = isFields(entry) ? Object.entries(entry) : [[entry, {}] as const];
  const [method, fields] = pair ?? [];
  const keys = typeof method === "string" ? methodKeys[method] : undefined;
  if (typeof method !== "string" || !keys || others.length > 0) {
    const near = typeof method === "string" ? closestName(method, Object.keys(methodKeys)) : undefined;
    const meant = near === undefined || near === method ? "expected" : `did you mean ${near}? Expected`;
    throw bad(
      where,
      `it is ${JSON.stringify(entry)}; ${meant} one of ${Object.keys(methodKeys).join(", ")}, with its options.`,
    );
  }
  return { method, where: `${where}.${method}`, fields: fieldsOf(fields ?? {}, `${where}.${method}`, keys) };
}

/** Reads a parsed recipe; `where` names it in messages. Throws BAD_OPTION, naming the entry at fault. */
export function runFromRecipe(content: unknown, where: string): Run {
  const recipe = fieldsOf(content, where, recipeKeys);
  const shared = fieldsOf(recipe["quantize"] ?? {}, `${where}: quantize`, quantizeKeys);
  const list = recipe["methods"] ?? [];
  if (!Array.isArray(list)) throw bad(`${where}: methods`, "expected a list.");
  const steps = list.map((entry, i) => stepOf(entry, `${where}: methods[${i}]`));
  checkOrder(steps);
  const prepare = steps.map(({ method }) => method).filter((method) => preparing.some((name) => name === method));
  const trained = steps.filter(({ method }) => !prepare.includes(method));
  const base = { ...shared, prepare, ...take(recipe, runKeys) };
  const [options, ...later] = (trained.length > 0 ? trained : [{ method: "ptq", where, fields: {} }]).map((step) =>
    parse({ ...base, ...step.fields, method: step.method }, step, where),
  );
  return { options, later };
}

function parse(given: Fields, step: Step, where: string): RunOptions {
  const result = runSchema.safeParse(withTarget(given));
  if (result.success) return result.data;
  const messages = result.error.issues.map(({ path, message, code }) => {
    const key = path.map(String).join(".");
    const place = quantizeKeys.includes(String(path[0])) ? `${where}: quantize` : step.where;
    const schema = Object.entries(runSchema.shape).find(([name]) => name === path[0])?.[1];
    const value = given[String(path[0])];
    const expected =
      code === "custom" || !schema ? message.replace(/^is [^;]*; /, "") : expectedOf(coreOf(schema), message, value);
    return `${place}.${key} is ${JSON.stringify(value)}; ${expected}`;
  });
  throw new FrostbitError("BAD_OPTION", `${messages.join(". ")}.`);
}

/** Equalization, then bias correction, then what trains; float models are trained alone. */
function checkOrder(steps: readonly Step[]): void {
  const rank = (method: string): number => [...preparing, method].indexOf(method);
  steps.forEach(({ method, where }, i) => {
    const before = steps[i - 1]?.method;
    if (before !== undefined && rank(before) > rank(method)) throw bad(where, `it cannot come after ${before}.`);
    if (before !== undefined && before === method && rank(method) < preparing.length)
      throw bad(where, "it is there twice.");
    if (method === "float" && steps.length > 1)
      throw bad(where, "a float model is trained alone, without other methods.");
  });
}

/** The fields of these names that have a value. */
const take = (from: Fields, keys: readonly string[]): Fields =>
  Object.fromEntries(Object.entries(from).filter(([key, value]) => keys.includes(key) && value !== undefined));

/** What a method's entry, or the first's `quantize`, says without effect. What is written as the default is no choice. */
export function unusedInRecipe({ options, later }: Run): readonly string[] {
  const defaults: Fields = runSchema.parse({});
  const isChosen = ([name, value]: readonly [string, unknown]): boolean =>
    JSON.stringify(value) !== JSON.stringify(defaults[name]);
  return [options, ...later].flatMap((stage, i) => {
    const own = i === 0 ? stage : take(stage, methodKeys[stage.method]);
    const chosen = Object.entries(own)
      .filter(isChosen)
      .map(([name]) => name);
    return unusedNotes(stage, chosen, (name) => name);
  });
}

/** The recipe that gives this run again, every option written out. */
export function recipeOf({ options, later }: Run): Fields {
  const { method, prepare } = options;
  const training = method === "ptq" ? [] : [options, ...later];
  return {
    quantize: take(options, quantizeKeys),
    methods: [
      ...preparing.filter((name) => prepare.includes(name)),
      ...training.map((stage) => ({ [stage.method]: take(stage, methodKeys[stage.method]) })),
    ],
    ...take(options, runKeys),
  };
}
