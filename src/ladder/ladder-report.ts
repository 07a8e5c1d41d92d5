// How a file was found, as plain data.
import { flagOf } from "../options/flag-of.ts";
import type { LadderReport } from "../report/report.ts";
import type { RungRecord } from "./climb.ts";
import type { GoalOutcome } from "./quantize-to-goal.ts";
import type { Rung } from "./rungs.ts";

type Fields = Readonly<Record<string, unknown>>;

export function ladderReport(
  { records, chosen, isReached }: GoalOutcome["climbed"],
  validation: GoalOutcome["validation"],
): LadderReport {
  return {
    validation,
    isReached,
    rungs: records.map((record) => ({
      name: record.rung.name,
      flags: flagsOf(record.rung),
      outcome: record.outcome,
      isChosen: record.rung === chosen,
      predictedSeconds: record.predicted,
      ...measuredOf(record),
    })),
  };
}

type Measured = Pick<LadderReport["rungs"][number], "drop" | "sizeBytes" | "seconds" | "why">;

function measuredOf(record: RungRecord): Measured {
  if (record.outcome !== "tried") return { drop: null, sizeBytes: null, seconds: null, why: record.why };
  const { drop, bytes, seconds } = record;
  const isNumber = Number.isFinite(drop.mean) && Number.isFinite(drop.error);
  return { drop: isNumber ? drop : null, sizeBytes: bytes, seconds, why: null };
}

/** What to type for it alone. */
export function flagsOf({ quantize, methods }: Rung): string {
  const named = methods.map((entry) => (typeof entry === "string" ? { name: entry, options: {} } : withOptions(entry)));
  const options = [quantize, ...named.map(({ options }) => options)].flatMap((fields) => Object.entries(fields));
  return [
    `--method ${named.map(({ name }) => name).join(",")}`,
    ...options.map(([name, value]) => `${flagOf(name)} ${printed(value)}`),
  ].join(" ");
}

/** A method's name, with its options. */
function withOptions(entry: unknown): { readonly name: string; readonly options: Fields } {
  const [[name, options]] = Object.entries(entry as Readonly<Record<string, Fields>>);
  return { name, options };
}

const printed = (value: unknown): string =>
  typeof value === "object" && value !== null
    ? `'${Object.entries(value)
        .map(([layer, bits]) => `${layer}=${bits}`)
        .join(",")}'`
    : String(value);
