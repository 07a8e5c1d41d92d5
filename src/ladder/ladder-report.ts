// How a file was found, as plain data.
import { flagOf } from "../options/flag-of.ts";
import { recipeOf } from "../options/recipe.ts";
import { type RunOptions, wholeOptions } from "../options/run-options.ts";
import type { LadderReport } from "../report/report.ts";
import type { RungRecord } from "./climb.ts";
import type { GoalOutcome } from "./quantize-to-goal.ts";
import { besideFixed, type Rung } from "./rungs.ts";

type Fields = Readonly<Record<string, unknown>>;

/** `run`: what the ladder was given. */
export function ladderReport(
  { records, chosen, isReached }: GoalOutcome["climbed"],
  validation: GoalOutcome["validation"],
  run: RunOptions,
): LadderReport {
  return {
    validation,
    isReached,
    rungs: records.map((record) => ({
      name: record.rung.name,
      flags: flagsOf(record.rung, run),
      outcome: record.outcome,
      isChosen: record.rung === chosen,
      predictedSeconds: record.predicted,
      ...measuredOf(record),
    })),
  };
}

type Measured = Pick<LadderReport["rungs"][number], "drop" | "sizeBytes" | "latency" | "seconds" | "why">;

function measuredOf(record: RungRecord): Measured {
  if (record.outcome !== "tried") return { drop: null, sizeBytes: null, latency: null, seconds: null, why: record.why };
  const { drop, bytes, latency = null, seconds } = record;
  const isNumber = Number.isFinite(drop.mean) && Number.isFinite(drop.error);
  return { drop: isNumber ? drop : null, sizeBytes: bytes, latency, seconds, why: null };
}

/** What to type for it alone, beside model, data and preprocessing: what the run fixed is part of every rung. */
export function flagsOf(rung: Rung, run: RunOptions): string {
  const named = rung.methods.map((entry) =>
    typeof entry === "string" ? { name: entry, options: {} } : withOptions(entry),
  );
  const { quantize: fixed, goal: _, ...whole } = recipeOf(run);
  const entries = [besideFixed(rung, fixed as Fields), ...named.map(({ options }) => options), chosenOf(whole)];
  const flags = entries.flatMap((fields) => Object.entries(fields)).map(([name, value]) => flagWith(name, value));
  return [`--method ${named.map(({ name }) => name).join(",")}`, ...flags].join(" ");
}

/** A method's name, with its options. */
function withOptions(entry: unknown): { readonly name: string; readonly options: Fields } {
  const [[name, options]] = Object.entries(entry as Readonly<Record<string, Fields>>);
  return { name, options };
}

/** Of the whole run, what is not what it would be without. */
function chosenOf(whole: Fields): Fields {
  const defaults: Fields = wholeOptions.parse({});
  return Object.fromEntries(Object.entries(whole).filter(([name, value]) => value !== defaults[name]));
}

function flagWith(name: string, value: unknown): string {
  if (value === true) return flagOf(name);
  return value === false ? flagOf(name).replace("--", "--no-") : `${flagOf(name)} ${printed(value)}`;
}

/** As a shell takes it. */
function printed(value: unknown): string {
  if (Array.isArray(value)) return quoted(value.join(","));
  if (typeof value !== "object" || value === null) return quoted(String(value));
  const pairs = Object.entries(value);
  const isPlain = pairs.every(([, each]) => typeof each !== "object");
  return inQuotes(isPlain ? pairs.map(([key, each]) => `${key}=${each}`).join(",") : JSON.stringify(value));
}

const quoted = (text: string): string => (/^[\w.,:/%+=-]+$/.test(text) ? text : inQuotes(text));

const inQuotes = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
