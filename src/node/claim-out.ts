// The folder of a run's results is not taken from a run whose work would be lost.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Storage } from "../data/storage.ts";
import { FrostbitError } from "../ir/errors.ts";
import { savedFingerprint } from "../training/checkpoint.ts";

/** What a run is of, by name: versions, model, data, and each option. */
export type RunFields = Readonly<Record<string, string>>;

export const fingerprintOf = (fields: RunFields): string => JSON.stringify(fields);

function parseFingerprint(fingerprint: string): RunFields {
  try {
    return JSON.parse(fingerprint) as RunFields;
  } catch {
    return {};
  }
}

const longest = 60;
const shown = (value: string | undefined): string =>
  value === undefined ? "not given" : value.length > longest ? `${value.slice(0, longest)}…` : value;

/** "lr was 0.001 and is 0.5" */
export const differences = (before: RunFields, now: RunFields): readonly string[] =>
  differencesBetween(before, now, ([old, current]) => `was ${old} and is ${current}`);

/** By name, each with what `say` says of the two values; digests say nothing, so only that they differ. */
export function differencesBetween(
  before: RunFields,
  now: RunFields,
  say: (values: readonly [string, string]) => string,
): readonly string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  return names
    .filter((name) => before[name] !== now[name])
    .map((name) => {
      const isDigest = /\b[0-9a-f]{64}\b/.test(`${before[name]} ${now[name]}`);
      return isDigest ? `${name} differs` : `${name} ${say([shown(before[name]), shown(now[name])])}`;
    });
}

const modifiedAt = (path: string): Promise<number> =>
  stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );

export interface Claim {
  readonly out: string;
  /** Of `out`'s checkpoints. */
  readonly storage: Storage;
  readonly fields: RunFields;
  readonly resume: boolean;
  readonly overwrite: boolean;
}

/**
 * Throws BAD_OPTION where the checkpoint in `out` is of another run and would be resumed or lost, or where the same run
 * was stopped and would begin again. With `overwrite`, checkpoints are removed.
 */
export async function claimOut({ out, storage, fields, resume, overwrite }: Claim): Promise<void> {
  if (overwrite && resume)
    throw new FrostbitError(
      "BAD_OPTION",
      "--resume continues the run in --out, --overwrite replaces it. Give only one of them.",
    );
  if (overwrite) {
    for (const name of await storage.list()) await storage.remove(name);
    return;
  }
  const saved = await savedFingerprint(storage);
  if (!saved) return;
  const differing = differences(parseFingerprint(saved.fingerprint), fields);
  const list = `${differing.slice(0, 5).join(", ")}${differing.length > 5 ? ", …" : ""}`;
  if (resume && differing.length > 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `The checkpoint was made with another model, other data or other options. In "${out}", ${list}. Resume with what it was made with, or choose another --out folder.`,
    );
  if (resume) return;
  if (differing.length > 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `"${out}" holds what another run trained: ${list}. Choose another --out folder, or replace it with --overwrite.`,
    );
  const isFinished =
    (await modifiedAt(join(out, "report.json"))) >= (await modifiedAt(join(out, "checkpoint/state.json")));
  if (!isFinished)
    throw new FrostbitError(
      "BAD_OPTION",
      `"${out}" holds this run, stopped after step ${saved.step}. Continue with --resume, or start again with --overwrite.`,
    );
}
