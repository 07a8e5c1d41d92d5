// Nothing is lost: the command killed at any moment, on a full disk, in a folder that cannot be written, its data gone.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createRandom } from "../support/random.ts";
import { tinyCifar10 } from "../support/tiny-models.ts";
import { killAndResume, modelIn, runOnce, shortRun, writeInputs } from "./durability.ts";

let folder = "";
let wholeMs = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "frostbit-durability-"));
  writeInputs(folder);
  const start = performance.now();
  const whole = await runOnce(folder, [...shortRun, "--out", "whole"]);
  wholeMs = performance.now() - start;
  expect(whole.code, whole.stderr).toBe(0);
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true }));

describe("killed at random moments", () => {
  test("4 times and resumed, a run leaves the bytes of one that was never stopped", async () => {
    const random = createRandom(process.pid);
    const { kills, last } = await killAndResume(folder, "killed", 4, () => (wholeMs * random.integer(200, 800)) / 1000);
    expect(last.code, last.stderr).toBe(0);
    expect(kills).toBeGreaterThan(0);
    expect(modelIn(folder, "killed")).toEqual(modelIn(folder, "whole"));
    expect(readdirSync(join(folder, "killed")).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  }, 600_000);
});

/** A file system of `kilobytes`, or why there is none. */
function mountSmall(path: string, kilobytes: number): string | undefined {
  mkdirSync(path);
  const { status, stderr, error } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${kilobytes}k`, "frostbit", path], {
    encoding: "utf8",
  });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}

describe("a full disk", () => {
  test("is named, keeps the checkpoint whole, and the run goes on where there is space", async ({ skip }) => {
    const small = join(folder, "small");
    const whyNot = mountSmall(small, 200);
    if (whyNot !== undefined) skip(`no small file system can be mounted: ${whyNot}`);
    try {
      writeFileSync(join(small, "taken"), new Uint8Array(120_000));
      const full = await runOnce(folder, [...shortRun, "--out", "small/out"]);
      expect(full.code).toBe(1);
      expect(full.stderr).toMatch(/Cannot write "small\/out\/.*": the disk is full\. Free some space/);
      expect(full.stderr).not.toContain("internal");
      rmSync(join(small, "taken"));
      expect(spawnSync("mount", ["-o", "remount,size=20m", small]).status).toBe(0);
      const resumed = await runOnce(folder, [...shortRun, "--out", "small/out", "--resume"]);
      expect(resumed.code, resumed.stderr).toBe(0);
      expect(modelIn(folder, "small/out")).toEqual(modelIn(folder, "whole"));
    } finally {
      spawnSync("umount", [small]);
    }
  }, 300_000);
});

describe("folders and data that change", () => {
  test("a folder that cannot be written is refused before anything is computed", async ({ skip }) => {
    const locked = join(folder, "locked");
    mkdirSync(locked);
    chmodSync(locked, 0o555);
    const isRoot = process.getuid?.() === 0;
    const isReadOnly = isRoot && spawnSync("mount", ["-t", "tmpfs", "-o", "ro", "frostbit", locked]).status === 0;
    if (isRoot && !isReadOnly) skip("the superuser writes everywhere, and no read-only file system can be mounted");
    try {
      const refused = await runOnce(folder, [...shortRun, "--out", "locked/out"]);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toMatch(/Cannot write "locked\/out": (the file system is read-only|permission denied)/);
      expect(refused.stderr).not.toContain("calibrat");
    } finally {
      if (isReadOnly) spawnSync("umount", [locked]);
    }
  });

  test("data that disappear while it trains harm nothing: they have been read", async () => {
    const gone = join(folder, "gone");
    mkdirSync(gone);
    writeInputs(gone);
    const running = runOnce(gone, [...shortRun, "--out", "out"]);
    const isTraining = (): boolean => readdirSync(gone).includes("out") && readdirSync(join(gone, "out")).length > 0;
    while (!isTraining()) await new Promise((resolve) => setTimeout(resolve, 10));
    rmSync(join(gone, "cifar"), { recursive: true });
    const { code, stderr } = await running;
    expect(code, stderr).toBe(0);
    expect(modelIn(gone, "out")).toEqual(modelIn(folder, "whole"));
  }, 300_000);

  test("--resume on data that have changed is refused, and says what to do", async () => {
    const finished = await runOnce(folder, [...shortRun, "--out", "changed"]);
    const before = readFileSync(join(folder, "cifar/train_1.bin"));
    try {
      writeFileSync(join(folder, "cifar/train_1.bin"), tinyCifar10(400, 9));
      const resumed = await runOnce(folder, [...shortRun, "--out", "changed", "--resume"]);
      expect(finished.code, finished.stderr).toBe(0);
      expect(resumed.code, resumed.stderr).toBe(1);
      expect(resumed.stderr).toContain("other data");
    } finally {
      writeFileSync(join(folder, "cifar/train_1.bin"), before);
    }
  }, 300_000);
});
