// Runs that want one folder at once, also from separate process namespaces.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cliPath } from "../support/run-cli.ts";
import { shortRun, writeInputs } from "./durability.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "frostbit-lock-"));
  writeInputs(folder);
});
afterAll(() => rmSync(folder, { recursive: true }));

const canUnshare = spawnSync("unshare", ["--pid", "--fork", "--mount-proc", "true"]).status === 0;

/** Refused at the start, or, where a loaded machine stands still for ten seconds, before the first file is written. */
const refusal = /is being written by another run|was taken by another run/;

interface Run {
  /** With what it ended. */
  readonly ended: Promise<string>;
  /** Ctrl-C, for it and what it started. */
  readonly interrupt: () => void;
}

/** More steps than the test has time for: the folder is held until it is interrupted. */
function startRun(before: readonly string[], out: string): Run {
  const [command, ...args] = [...before, process.execPath, cliPath, ...shortRun, "--steps", "1000000", "--out", out];
  const child = spawn(command, args, { cwd: folder, detached: true, stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (part) => {
    stderr += String(part);
  });
  const ended = new Promise<string>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(`${signal ?? code}: ${stderr}`));
  });
  return { ended, interrupt: () => process.kill(-(child.pid as number), "SIGINT") };
}

/** The one that has not ended once two of three have, and what those ended with. */
async function lastOf(runs: readonly Run[]): Promise<{ readonly last: Run; readonly others: readonly string[] }> {
  const left = new Set(runs);
  const others: string[] = [];
  while (left.size > 1) {
    const first = await Promise.race([...left].map((run) => run.ended.then((text) => ({ run, text }))));
    left.delete(first.run);
    others.push(first.text);
  }
  return { last: [...left][0], others };
}

test.each([
  ["one namespace", "", true],
  ["separate process namespaces, with the same numbers", "unshare --pid --fork --mount-proc", canUnshare],
  ["process namespaces whose /proc is another's", "unshare --pid --fork", canUnshare],
])(
  "of three runs in %s, one writes and the others are refused",
  async (name, before, can) => {
    if (!can) return expect(canUnshare).toBe(false);
    const out = name.replaceAll(/\W+/g, "-");
    const runs = [1, 2, 3].map(() => startRun(before.split(" ").filter(Boolean), out));
    const { last, others } = await lastOf(runs);
    for (const text of others) expect(text).toMatch(refusal);
    const locks = (): readonly string[] =>
      readdirSync(join(folder, out)).filter((file) => /^\.frostbit\.lock/.test(file));
    expect(locks()).toHaveLength(1);
    await expect.poll(() => readdirSync(join(folder, out)).length, { timeout: 60_000 }).toBeGreaterThan(1);
    last.interrupt();
    expect(await last.ended).toMatch(/--resume/);
    expect(locks()).toEqual([]);
  },
  180_000,
);
