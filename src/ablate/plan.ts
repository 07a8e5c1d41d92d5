// The runs of an ablation or a sweep: a recipe's section `ablate` or `sweep`, as settings of its options and a cell for each setting and seed.
import { closestName } from "../ir/closest-name.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Fields } from "../methods/method.ts";
import { recipeOf, runFromRecipe, unusedInRecipe } from "../options/recipe.ts";
import type { RunOptions } from "../options/run-options.ts";
import { type Axis, type Design, designs, isFields, placeOf, withValue } from "./axes.ts";

/** Values of the axes that a run has; what is not named is as in the recipe. */
type Changes = Readonly<Record<string, unknown>>;

/** What runs once for each seed. */
export interface Setting {
  /** "base", or "qdrop.drop=0.25". */
  readonly name: string;
  readonly changes: Readonly<Record<string, unknown>>;
  /** Whether it is the recipe itself. */
  readonly isBase: boolean;
}

/** One run. */
export interface Cell {
  readonly setting: Setting;
  readonly seed: number;
  readonly options: RunOptions;
}

/** Settings, each with every seed. */
export interface AblationPlan {
  readonly design: Design;
  /** Without that of seeds. */
  readonly axes: readonly Axis[];
  readonly seeds: readonly number[];
  readonly settings: readonly Setting[];
  /** All seeds of a setting before the next, the base first where it is among them. */
  readonly cells: readonly Cell[];
  /** Values without effect, in sentences. */
  readonly notes: readonly string[];
}

/** The section of a recipe that names runs. */
interface Reading {
  /** An ablation compares with the recipe itself, which is always among its runs, and varies something. */
  readonly entry: "ablate" | "sweep";
  /** Entries beside the design and the axes. */
  readonly others: readonly string[];
}

const sectionKeys = ["design", "axes"];

const bad = (where: string, message: string): FrostbitError => new FrostbitError("BAD_OPTION", `${where}: ${message}`);

/** Reads a parsed recipe with an `ablate` section; `where` names it in messages. Throws BAD_OPTION, naming the axis at fault. */
export function ablationFromRecipe(content: unknown, where: string): AblationPlan {
  if (!isFields(content) || !isFields(content["ablate"]))
    throw bad(where, 'expected a recipe with a section "ablate": its design and its axes.');
  const { ablate, ...recipe } = content;
  return planOf(recipe, ablate as Fields, where, { entry: "ablate", others: [] });
}

/** The runs of a sweep, for each of its models. */
export interface SweepPlan extends AblationPlan {
  readonly models: readonly string[];
  /** The section's other entries: data, preprocessing, engine, as the command's options are called. */
  readonly given: Fields;
}

/**
 * Reads a parsed recipe with a `sweep` section, which says what its runs read besides what they do: its models, and `options`, by
 * name. Throws BAD_OPTION, naming the entry at fault.
 */
export function sweepFromRecipe(content: unknown, where: string, options: readonly string[]): SweepPlan {
  if (!isFields(content) || !isFields(content["sweep"]))
    throw bad(where, 'expected a recipe with a section "sweep": its models, its data and its axes.');
  const { sweep, ...recipe } = content;
  const { models: paths = [], design: _, axes: __, ...given } = sweep as Fields;
  const plan = planOf(recipe, sweep as Fields, where, { entry: "sweep", others: ["models", ...options] });
  if (!Array.isArray(paths) || !paths.every((path) => typeof path === "string"))
    throw bad(`${where}: sweep.models`, `it is ${JSON.stringify(paths)}; expected a list of paths.`);
  const count = plan.cells.length * paths.length;
  if (count > mostCells) throw bad(`${where}: sweep`, `it asks for ${count} runs; expected ${mostCells} at most.`);
  return { ...plan, models: paths, given };
}

function planOf(recipe: Fields, section: Fields, where: string, reading: Reading): AblationPlan {
  runFromRecipe(recipe, where);
  const { design, axes } = sectionOf(section, `${where}: ${reading.entry}`, reading);
  const place = `${where}: ${reading.entry}.axes`;
  const others = axes.filter(({ path }) => path !== "seed");
  for (const axis of axes) checkAxis(axis, recipe, place);
  const seeds = seedsOf(axes, recipe, where);
  const hasBase = reading.entry === "ablate" || design === "one-at-a-time";
  const settings = settingsOf([...(hasBase ? [{}] : []), ...changesOf(design, others)], recipe, where);
  return {
    design,
    axes: others,
    seeds,
    settings: settings.map(({ setting }) => setting),
    cells: settings.flatMap(({ setting, options }) =>
      seeds.map((seed) => ({ setting, seed, options: { ...options, seed } })),
    ),
    notes: notesOf(others, recipe, where, reading.entry),
  };
}

interface Section {
  readonly design: Design;
  readonly axes: readonly Axis[];
}

function sectionOf(given: Fields, where: string, { entry, others }: Reading): Section {
  const known = [...sectionKeys, ...others];
  const unknown = Object.keys(given).find((key) => !known.includes(key));
  if (unknown !== undefined) {
    const near = closestName(unknown, known);
    const list = others.length === 0 ? sectionKeys.join(" and ") : known.join(", ");
    const hint = near === undefined ? `expected ${list}; axes are named under axes.` : `did you mean ${near}?`;
    throw bad(where, `${unknown}: no such entry; ${hint}`);
  }
  const isAblation = entry === "ablate";
  const { design = isAblation ? "one-at-a-time" : "grid", axes = isAblation ? undefined : {} } = given;
  const found = designs.find((name) => name === design);
  if (!found)
    throw bad(
      where,
      `design is ${JSON.stringify(design)}; expected ${designs.map((name) => `"${name}"`).join(" or ")}.`,
    );
  if (!isFields(axes) || (isAblation && Object.keys(axes).length === 0))
    throw bad(where, "axes: expected paths of options, each with a list of values, as in qdrop.drop: [0, 0.5].");
  const read = Object.entries(axes).map(([path, values]) => ({
    path,
    values: valuesOf(values, `${where}.axes.${path}`),
  }));
  const count = countOf(found, read);
  if (count > mostCells) throw bad(where, `${found} asks for ${count} runs; expected ${mostCells} at most.`);
  return { design: found, axes: read };
}

/** More take years, and their plan the memory. */
const mostCells = 10_000;

/** Of cells, at most. */
function countOf(design: Design, axes: readonly Axis[]): number {
  const lengths = axes.filter(({ path }) => path !== "seed").map(({ values }) => values.length);
  const seeds = axes.find(({ path }) => path === "seed")?.values.length ?? 1;
  const settings =
    design === "grid"
      ? lengths.reduce((product, length) => product * length, 1)
      : lengths.reduce((sum, length) => sum + length, 1);
  return settings * seeds;
}

function valuesOf(values: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(values) || values.length === 0)
    throw bad(where, `it is ${JSON.stringify(values)}; expected a list of values.`);
  if (values.length > mostCells) throw bad(where, `it has ${values.length} values; expected ${mostCells} at most.`);
  const printed = values.map((value) => JSON.stringify(value));
  const twice = printed.find((text, i) => printed.indexOf(text) !== i);
  if (twice !== undefined) throw bad(where, `${twice} is there twice.`);
  return values;
}

/** Each value alone, so that what is wrong with it is said of the axis. */
function checkAxis({ path, values }: Axis, recipe: Fields, where: string): void {
  const place = placeOf(path, recipe, where);
  values.forEach((value, i) => {
    runFromRecipe(withValue(recipe, place, value), `${where}.${path}[${i}]`);
  });
}

function seedsOf(axes: readonly Axis[], recipe: Fields, where: string): readonly number[] {
  const axis = axes.find(({ path }) => path === "seed");
  if (!axis) return [runFromRecipe(recipe, where).seed];
  return axis.values.map(
    (seed) => runFromRecipe(withValue(recipe, { entry: "whole", name: "seed" }, seed), where).seed,
  );
}

interface SettingRun {
  readonly setting: Setting;
  readonly options: RunOptions;
}

/** Settings that come to the same run are one; what changes nothing is the base. */
function settingsOf(all: readonly Changes[], recipe: Fields, where: string): readonly SettingRun[] {
  const found = new Map<string, SettingRun>();
  for (const changes of all) {
    const name = nameOf(changes);
    const isBase = Object.keys(changes).length === 0;
    let changed = recipe;
    for (const [path, value] of Object.entries(changes))
      changed = withValue(changed, placeOf(path, changed, where), value);
    const options = runFromRecipe(changed, isBase ? where : `${where}: cell ${name}`);
    const key = JSON.stringify(recipeOf(options));
    if (!found.has(key)) found.set(key, { setting: { name, changes, isBase }, options });
  }
  return [...found.values()];
}

const changesOf = (design: Design, axes: readonly Axis[]): readonly Changes[] =>
  design === "grid" ? productOf(axes) : singles(axes);

const singles = (axes: readonly Axis[]): readonly Changes[] =>
  axes.flatMap(({ path, values }) => values.map((value) => ({ [path]: value })));

const productOf = (axes: readonly Axis[]): readonly Changes[] =>
  axes.reduce<readonly Changes[]>(
    (all, { path, values }) => all.flatMap((changes) => values.map((value) => ({ ...changes, [path]: value }))),
    [{}],
  );

/** "qdrop.drop=0.25, quantize.weights=4" */
const nameOf = (changes: Changes): string =>
  Object.entries(changes)
    .map(([path, value]) => `${path}=${printValue(value)}`)
    .join(", ") || "base";

/** `null` is a value that is not given. */
const printValue = (value: unknown): string =>
  value === null ? "not given" : typeof value === "string" ? value : JSON.stringify(value);

/** What varying an axis changes nothing of, since another option decides. */
function notesOf(axes: readonly Axis[], recipe: Fields, where: string, entry: string): readonly string[] {
  const before = new Set(unusedInRecipe(runFromRecipe(recipe, where)));
  const notes = axes.flatMap(({ path, values }) =>
    values.flatMap((value) =>
      unusedInRecipe(runFromRecipe(withValue(recipe, placeOf(path, recipe, where), value), where))
        .filter((note) => !before.has(note))
        .map((note) => `${entry}.axes.${path}: ${note}`),
    ),
  );
  return [...new Set(notes)];
}
