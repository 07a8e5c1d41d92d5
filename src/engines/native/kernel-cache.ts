// Which kernels were measured to be the fastest: a file in the user's cache folder, which processes share and anybody may delete.

import { readFileSync } from "node:fs";
import { access, constants, mkdir, open, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { z } from "zod";
import { tunings } from "../engine.ts";

const answerSchema = z.object({
  kernel: z.string(),
  tuning: z.enum(tunings).exclude(["off"]),
  /** By kernel, milliseconds. */
  ms: z.record(z.string(), z.number()),
});

/** What was measured for a question. */
export type RememberedKernel = z.infer<typeof answerSchema>;

const fileSchema = z.object({
  format: z.literal("frostbit-kernels-1"),
  /** By machine, then by question; those written last are last. */
  machines: z.record(z.string(), z.record(z.string(), answerSchema)),
});

type Answers = ReadonlyMap<string, RememberedKernel>;

/** What the file holds by machine, and what is wrong with it. */
export interface KernelCache {
  readonly machines: ReadonlyMap<string, Answers>;
  /** Absent where it can be read, or is not there. */
  readonly problem?: string;
}

/** A model asks some tens of questions for each batch size, precision and number of threads. */
const maxAnswers = 4096;

/** The XDG base directory specification's folder, where that is an absolute path. */
export function kernelCachePath(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const given = env["XDG_CACHE_HOME"];
  const base = given !== undefined && isAbsolute(given) ? given : join(homedir(), ".cache");
  return join(base, "frostbit", "kernels.json");
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** What of a file is whole; nothing where it is not there. */
export function readKernelCache(path: string): KernelCache {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    return isMissing(error) ? { machines: new Map() } : { machines: new Map(), problem: messageOf(error) };
  }
  return parseKernelCache(text);
}

function parseKernelCache(text: string): KernelCache {
  try {
    const { machines } = fileSchema.parse(JSON.parse(text));
    return {
      machines: new Map(Object.entries(machines).map(([name, answers]) => [name, new Map(Object.entries(answers))])),
    };
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error).split("\n")[0] : messageOf(error);
    return { machines: new Map(), problem: reason };
  }
}

/** Whether something can be remembered there; makes the folder. */
export async function canRemember(path: string): Promise<boolean> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await access(dirname(path), constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Whether `canRemember` would find so; makes nothing. */
export async function isWritable(path: string): Promise<boolean> {
  const folder = dirname(path);
  try {
    await access(folder, constants.W_OK);
    return (await stat(folder)).isDirectory();
  } catch (error) {
    const isLast = dirname(folder) === folder;
    return !isLast && error instanceof Error && "code" in error && error.code === "ENOENT" && isWritable(folder);
  }
}

const isBetter = (measured: RememberedKernel, known: RememberedKernel | undefined): boolean =>
  known === undefined || (measured.tuning === "thorough" && known.tuning === "fast");

/**
 * Adds what was measured on a machine to the file, and gives all that it then holds of the machine: what another process measured
 * before stays, so that all processes compute with the same kernels. `undefined` where the file cannot be written.
 */
export async function rememberKernels(path: string, machine: string, measured: Answers): Promise<Answers | undefined> {
  try {
    return await withLock(`${path}.lock`, async () => {
      const { machines } = readKernelCache(path);
      const answers = new Map(machines.get(machine));
      for (const [question, answer] of measured) {
        if (!isBetter(answer, answers.get(question))) continue;
        answers.delete(question);
        answers.set(question, answer);
      }
      const others = [...machines].filter(([name]) => name !== machine);
      const temporary = `${path}.tmp`;
      await writeFile(temporary, fileOf([...others, [machine, answers]]));
      await rename(temporary, path);
      return answers;
    });
  } catch {
    return undefined;
  }
}

/** As many as there may be, those measured last. */
function fileOf(machines: readonly (readonly [string, Answers])[]): string {
  let left = maxAnswers;
  const kept = machines.toReversed().flatMap(([machine, answers]) => {
    const list = left === 0 ? [] : [...answers].slice(-left);
    left -= list.length;
    return list.length === 0 ? [] : [[machine, Object.fromEntries(list)] as const];
  });
  const text = { format: "frostbit-kernels-1", machines: Object.fromEntries(kept.reverse()) };
  return `${JSON.stringify(text, null, 1)}\n`;
}

const waitMs = 10;
const patienceMs = 5000;
/** Whoever holds a lock reads and writes one file: what is older was left by a process that was killed. */
const staleMs = 3000;

/** Throws where another process holds it for too long. */
async function withLock<T>(lock: string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  while (!(await tryLock(lock))) {
    if (performance.now() - started > patienceMs) throw new Error(`${lock} is held`);
    await setTimeout(waitMs);
  }
  try {
    return await work();
  } finally {
    await rm(lock, { force: true });
  }
}

async function tryLock(lock: string): Promise<boolean> {
  try {
    await (await open(lock, "wx")).close();
    return true;
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
  const made = await stat(lock).catch(() => undefined);
  if (made && Date.now() - made.mtimeMs > staleMs) await rm(lock, { force: true });
  return false;
}
