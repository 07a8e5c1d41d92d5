// What a function of the library is given, checked as the command checks its flags: names and ranges.
import { closestName } from "./closest-name.ts";
import { FrostbitError } from "./errors.ts";

/** Throws BAD_OPTION for a field that the function `of` does not have, with the one that may be meant. */
export function checkNames(of: string, given: object, names: readonly string[]): void {
  const unknown = Object.keys(given).find((name) => !names.includes(name));
  if (unknown === undefined) return;
  const near = closestName(unknown, names);
  const meant = near === undefined ? `expected ${names.join(", ")}.` : `did you mean ${near}?`;
  throw new FrostbitError("BAD_OPTION", `${of}: ${unknown}: no such option; ${meant}`);
}

/** Throws BAD_OPTION where a number that is given is none of 1, 2, 3 … */
export function checkCounts(of: string, given: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(given))
    if (value !== undefined && !(Number.isSafeInteger(value) && Number(value) >= 1))
      throw new FrostbitError(
        "BAD_OPTION",
        `${of}: ${name} is ${String(value)}; expected a whole number of at least 1.`,
      );
}

/** Throws BAD_OPTION where what must be given is missing. */
export function checkGiven(of: string, given: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(given))
    if (value === undefined) throw new FrostbitError("BAD_OPTION", `${of}: ${name} is missing.`);
}

/** Throws BAD_OPTION where a name is none of those that there are, with the one that may be meant. */
export function checkChoice(what: string, given: string, choices: readonly string[]): void {
  if (choices.includes(given)) return;
  const near = closestName(String(given), choices);
  const meant = near === undefined ? "" : ` Did you mean ${JSON.stringify(near)}?`;
  throw new FrostbitError(
    "BAD_OPTION",
    `${what} is ${JSON.stringify(given)}; expected ${choices.map((name) => JSON.stringify(name)).join(", ")}.${meant}`,
  );
}
