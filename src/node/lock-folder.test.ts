import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, rmdir, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lockFolder } from "./lock-folder.ts";
import { ensureWritable } from "./storage.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-lock-"));
});
afterAll(() => rm(folder, { recursive: true }));

const other = (): string => join(folder, ".frostbit.lock.other");

/** What this process writes into its lock. */
async function ownIdentity(): Promise<Record<string, unknown>> {
  const lock = await lockFolder(folder);
  const [name] = await readdir(folder);
  const text = await readFile(join(folder, name), "utf8");
  await lock.release();
  return JSON.parse(text) as Record<string, unknown>;
}

async function expectFree(): Promise<void> {
  const lock = await lockFolder(folder);
  await lock.check();
  expect((await readdir(folder)).length).toBe(1);
  await lock.release();
  expect(await readdir(folder)).toEqual([]);
}

describe("a folder of results", () => {
  test("is held by one run of a process at a time", async () => {
    const lock = await lockFolder(folder);
    await expect(lockFolder(join(folder, "."))).rejects.toThrow(
      `"${folder}" is being written by another run, process ${process.pid}. Wait for it or stop it`,
    );
    await lock.release();
    await expectFree();
  });

  test.skipIf(process.platform !== "linux")(
    "is held by a process of this machine that lives, beating or not",
    async () => {
      const own = await ownIdentity();
      const stat = await readFile(`/proc/${process.ppid}/stat`, "utf8");
      const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
      await writeFile(other(), JSON.stringify({ ...own, pid: process.ppid, started }));
      const before = performance.now();
      await expect(lockFolder(folder)).rejects.toThrow(
        `being written by another run, process ${process.ppid}. Wait for it or stop it, or choose another --out folder; if no such run is there, remove "${other()}".`,
      );
      expect(performance.now() - before).toBeLessThan(3000);
      expect(await readdir(folder)).toEqual([".frostbit.lock.other"]);
      await writeFile(other(), JSON.stringify({ ...own, pid: process.ppid, started: "1" }));
      await expectFree();
    },
  );

  test("is taken over at once from a process of this machine that was killed", async () => {
    const { pid } = spawnSync(process.execPath, ["--version"]);
    await writeFile(other(), JSON.stringify({ ...(await ownIdentity()), pid }));
    const before = performance.now();
    await expectFree();
    expect(performance.now() - before).toBeLessThan(3000);
  });

  const elsewhere: readonly (readonly [string, Record<string, unknown>])[] = [
    ["of another machine", { pid: process.pid, host: `another-${hostname()}`, space: "another" }],
    ["of another container, which has the same number", { pid: process.pid, host: hostname(), space: "boot pid:[1]" }],
    ["whose machine cannot be told", { pid: 7, host: hostname() }],
  ];

  test.each(elsewhere)("is held by a run %s while its lock is renewed", async (_, identity) => {
    await writeFile(other(), JSON.stringify(identity));
    const timer = setInterval(() => void utimes(other(), new Date(), new Date()), 500);
    try {
      await expect(lockFolder(folder)).rejects.toThrow(`being written by another run, process ${identity["pid"]}`);
    } finally {
      clearInterval(timer);
      await rm(other());
    }
  });

  test.each([elsewhere[1], ["that wrote no more than its file", undefined] as const])(
    "is taken over after ten seconds from a run %s that was killed",
    async (_, identity) => {
      await writeFile(other(), identity === undefined ? "" : JSON.stringify(identity));
      await expectFree();
    },
    30_000,
  );

  test("that another run has taken is written no more", async () => {
    const lock = await lockFolder(folder);
    await lock.check();
    for (const name of await readdir(folder)) await rm(join(folder, name));
    await expect(lock.check()).rejects.toThrow(
      `"${folder}" was taken by another run, because this one gave no sign of life`,
    );
    await lock.release();
  });

  test("is made again while runs that were refused remove it", async () => {
    const removed = join(folder, "removed");
    let isDone = false;
    const remover = (async () => {
      while (!isDone) {
        await rmdir(removed).catch(() => undefined);
        await new Promise((next) => setTimeout(next, 1));
      }
    })();
    for (let i = 0; i < 50; i++) {
      await ensureWritable(removed);
      const lock = await lockFolder(removed);
      await lock.check();
      await lock.release();
    }
    isDone = true;
    await remover;
    await rm(removed, { recursive: true, force: true });
  });

  test("shows a sign of life while the process computes and cannot answer", async () => {
    const lock = await lockFolder(folder);
    const [name] = await readdir(folder);
    // A separate process, since this one is blocked.
    const script = `const { statSync } = require("node:fs"); const at = () => statSync(${JSON.stringify(join(folder, name))}).mtimeMs;
const first = at(); const end = Date.now() + 5000; while (Date.now() < end && at() === first); process.exit(at() === first ? 1 : 0);`;
    expect(spawnSync(process.execPath, ["-e", script]).status).toBe(0);
    await lock.release();
  }, 20_000);
});
