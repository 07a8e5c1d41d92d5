// A folder held by one run at a time, also among machines and containers that share it.
//
// Each run that wants the folder writes its own file with a random name, and then looks for others: two that look after they
// have written see each other, whatever the order. A run shows that it lives by its file's time, which a separate thread renews.
import { randomUUID } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { Worker } from "node:worker_threads";
import { isNativeBuilt, loadAddon } from "../engines/native/addon.ts";
import { FrostbitError } from "../ir/errors.ts";
import { codeOf, ioError, isAlive, writeInMadeFolder } from "./storage.ts";

const prefix = ".frostbit.lock.";
const beatMs = 1000;
/** A run whose file has not changed for so long is gone: it was killed with its machine or container. */
const staleMs = 10_000;
/** Others that want the folder at the same moment give way within it. */
const claimMs = 500;

export interface FolderLock {
  /** Throws IO where another run has taken the folder, because this one stood still for too long. */
  readonly check: () => Promise<void>;
  readonly release: () => Promise<void>;
}

/** By this process. */
const heldFolders = new Set<string>();

/** The files of the locks that this process holds: whoever ends it at once removes them. */
export const heldLocks = new Set<string>();

/** Ctrl-C may end the process while no JavaScript runs. */
function tellAddon(): void {
  if (isNativeBuilt()) loadAddon().removeAtSignal([...heldLocks]);
}

/**
 * Holds the folder, made if it is not there, until it is released. What a run left that was killed is taken over: at once where its
 * process can be asked for, else after ten seconds without a sign of life. Throws BAD_OPTION where another run holds it.
 */
export async function lockFolder(folder: string): Promise<FolderLock> {
  const place = resolve(folder);
  if (heldFolders.has(place)) throw heldByAnother(folder, `process ${process.pid}`, join(folder, prefix));
  heldFolders.add(place);
  try {
    const name = `${prefix}${randomUUID()}`;
    await claim(folder, name);
    return hold(folder, join(place, name), () => heldFolders.delete(place));
  } catch (error) {
    heldFolders.delete(place);
    throw error;
  }
}

const heldByAnother = (folder: string, holder: string, path: string): FrostbitError =>
  new FrostbitError(
    "BAD_OPTION",
    `"${folder}" is being written by another run, ${holder}. Wait for it or stop it, or choose another --out folder; if no such run is there, remove "${path}".`,
  );

async function locksIn(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch((cause: unknown) => {
    if (codeOf(cause) === "ENOENT") return [];
    throw ioError("list", folder, cause);
  });
  return names.filter((name) => name.startsWith(prefix));
}

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** Writes the file; done once no other run holds or wants the folder. */
async function claim(folder: string, name: string): Promise<void> {
  const path = join(folder, name);
  const gone = new Set<string>();
  const started = performance.now();
  for (;;) {
    for (const other of await locksIn(folder)) {
      if (gone.has(other)) continue;
      const holder = await holderOf(join(folder, other));
      if (holder === undefined) gone.add(other);
      else if (performance.now() - started > claimMs) throw heldByAnother(folder, holder, join(folder, other));
    }
    if ((await locksIn(folder)).every((other) => gone.has(other))) {
      const text = JSON.stringify(identity());
      await writeInMadeFolder(folder, () => writeFile(path, text, { flag: "wx" })).catch((cause: unknown) => {
        throw ioError("write", path, cause);
      });
      const others = (await locksIn(folder)).filter((other) => other !== name && !gone.has(other));
      if (others.length === 0) {
        for (const other of gone) await rm(join(folder, other), { force: true });
        return;
      }
      await rm(path, { force: true });
    }
    await pause(20 + Math.random() * 180);
  }
}

interface Identity {
  readonly pid: number;
  readonly host: string;
  /** In which a number stands for one process; absent where that is not known. */
  readonly space?: string;
  /** When the process started, since numbers are given again. */
  readonly started?: string;
}

/** When a process started, in the kernel's ticks. */
function startOf(pid: number | "self"): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

/** This process, and on Linux the kernel and the namespace that its number belongs to, if /proc shows that one. */
function identity(): Identity {
  const plain = { pid: process.pid, host: hostname() };
  if (process.platform !== "linux") return { ...plain, space: hostname() };
  try {
    const started = startOf("self");
    if (readlinkSync("/proc/self") !== String(process.pid) || started === undefined) return plain;
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return { ...plain, space: `${boot} ${readlinkSync("/proc/self/ns/pid")}`, started };
  } catch {
    return plain;
  }
}

/** Who holds the lock; `undefined` where that process is gone. */
async function holderOf(path: string): Promise<string | undefined> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const other = parse(text);
  const own = identity();
  const name = `process ${other?.pid ?? "unknown"}${other && other.host !== own.host ? ` on ${other.host}` : ""}`;
  if (other?.space !== undefined && other.space === own.space)
    return isAlive(other.pid) && startOf(other.pid) === other.started ? name : undefined;
  return (await beats(path)) ? name : undefined;
}

function parse(text: string): Identity | undefined {
  try {
    const value = JSON.parse(text) as Identity;
    return typeof value.pid === "number" && typeof value.host === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Through an opened file, because shared file systems keep what they last heard of others. */
async function timeOf(path: string): Promise<number | undefined> {
  try {
    const file = await open(path, "r");
    return await file
      .stat()
      .then(({ mtimeMs }) => mtimeMs)
      .finally(() => file.close());
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined;
    throw ioError("read", path, cause);
  }
}

/** Whether the file's time changes while one watches: clocks of other machines say nothing. */
async function beats(path: string): Promise<boolean> {
  const first = await timeOf(path);
  const started = performance.now();
  while (performance.now() - started < staleMs) {
    const now = await timeOf(path);
    if (now === undefined) return false;
    if (now !== first) return true;
    await pause(100);
  }
  return false;
}

/** A separate thread, so that a long computation does not look like a dead process. It ends with the file. */
const heart = `
const { workerData } = require("node:worker_threads");
const { utimesSync } = require("node:fs");
const timer = setInterval(() => {
  try {
    const now = new Date();
    utimesSync(workerData.path, now, now);
  } catch (error) {
    if (error.code === "ENOENT") clearInterval(timer);
  }
}, workerData.beatMs);
`;

function hold(folder: string, path: string, onRelease: () => void): FolderLock {
  const worker = new Worker(heart, { eval: true, workerData: { path, beatMs } });
  worker.unref();
  heldLocks.add(path);
  tellAddon();
  return {
    check: async () => {
      if ((await timeOf(path)) !== undefined) return;
      throw new FrostbitError(
        "IO",
        `"${folder}" was taken by another run, because this one gave no sign of life for ${staleMs / 1000} s. Nothing more is written. Run it again with --resume, once the other has ended.`,
      );
    },
    release: async () => {
      await worker.terminate();
      await rm(path, { force: true });
      heldLocks.delete(path);
      tellAddon();
      onRelease();
    },
  };
}
