// What an ablation varies: options of a recipe, by their paths in it.
import { closestName } from "../ir/closest-name.ts";
import { FrostbitError } from "../ir/errors.ts";
import { methodNames, methodOf } from "../methods/index.ts";
import type { Fields } from "../methods/method.ts";
import { quantizationOptions, wholeOptions } from "../options/run-options.ts";

/** An option, and what it is set to. */
export interface Axis {
  /** As the recipe has it: "quantize.weights", "qdrop.drop", "methods[1].qat.lr", "methods", "seed". */
  readonly path: string;
  /** null: not given, as if the recipe did not name it. */
  readonly values: readonly unknown[];
}

export const designs = ["one-at-a-time", "grid"] as const;
/** Whether each axis leaves the others as the recipe has them, or all values of all axes meet. */
export type Design = (typeof designs)[number];

export const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Where the value of a path is in a recipe. */
type Place =
  | { readonly entry: "whole"; readonly name: string }
  | { readonly entry: "quantize"; readonly name: string }
  | { readonly entry: "method"; readonly index: number; readonly method: string; readonly name: string };

const wholeNames = ["methods", ...Object.keys(wholeOptions.shape)];

/** The method of each entry of the recipe's list; undefined for what is none, which the recipe's check refuses. */
const methodsOf = (recipe: Fields): readonly (string | undefined)[] =>
  (Array.isArray(recipe["methods"]) ? recipe["methods"] : []).map((entry: unknown) => {
    const name = isFields(entry) ? Object.keys(entry)[0] : entry;
    return methodNames.find((known) => known === name);
  });

/** Every path that the recipe has, with its place: a method that is there twice is told apart by its position. */
function placesOf(recipe: Fields): ReadonlyMap<string, Place> {
  const places = new Map<string, Place>();
  for (const name of Object.keys(quantizationOptions.shape))
    places.set(`quantize.${name}`, { entry: "quantize", name });
  const listed = methodsOf(recipe);
  listed.forEach((method, index) => {
    if (method === undefined) return;
    const isAlone = listed.filter((other) => other === method).length === 1;
    for (const name of Object.keys(methodOf({ method }).options.shape)) {
      const place = { entry: "method", index, method, name } as const;
      if (isAlone) places.set(`${method}.${name}`, place);
      places.set(`methods[${index}].${method}.${name}`, place);
    }
  });
  for (const name of wholeNames) places.set(name, { entry: "whole", name });
  return places;
}

/** Throws BAD_OPTION, with the paths that there are, where the recipe has no such option. */
export function placeOf(path: string, recipe: Fields, where: string): Place {
  const places = placesOf(recipe);
  const place = places.get(path);
  if (place) return place;
  throw new FrostbitError(
    "BAD_OPTION",
    `${where}: ${path}: no such option; ${hintFor(path, recipe, [...places.keys()])}`,
  );
}

function hintFor(path: string, recipe: Fields, paths: readonly string[]): string {
  const last = path.slice(path.lastIndexOf(".") + 1);
  const near = paths.find((known) => known.endsWith(`.${path}`)) ?? closestName(path, paths);
  if (near !== undefined) return `did you mean ${near}?`;
  const entry = path.slice(0, -last.length);
  const within = entry === "" ? [] : paths.filter((known) => known.startsWith(entry));
  if (within.length > 0) return `expected one of ${within.join(", ")}.`;
  const listed = methodsOf(recipe).filter((name) => name !== undefined);
  const methods = listed.length === 0 ? "" : `, ${[...new Set(listed)].map((name) => `${name}.OPTION`).join(", ")}`;
  return `expected quantize.OPTION${methods}, ${wholeNames.join(", ")}.`;
}

/** The recipe with another value there. */
export function withValue(recipe: Fields, place: Place, value: unknown): Fields {
  if (place.entry === "whole") return changed(recipe, place.name, value);
  if (place.entry === "quantize") {
    const own = recipe["quantize"];
    return { ...recipe, quantize: changed(isFields(own) ? own : {}, place.name, value) };
  }
  const list = recipe["methods"] as readonly unknown[];
  const entry = list[place.index];
  const own = isFields(entry) ? entry[place.method] : undefined;
  const options = changed(isFields(own) ? own : {}, place.name, value);
  return { ...recipe, methods: list.map((other, i) => (i === place.index ? { [place.method]: options } : other)) };
}

function changed(fields: Fields, name: string, value: unknown): Fields {
  const { [name]: _, ...others } = fields;
  return value === null ? others : { ...others, [name]: value };
}
