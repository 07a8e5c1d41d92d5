// Runs that want one folder at once, also from separate process namespaces.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
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

/** Holds the folder for seconds: those that are refused watch it for a second at most. */
const longRun = [...shortRun, "--steps", "1500"];

/** Refused at the start, or, where a loaded machine stands still for ten seconds, before the first file is written. */
const refusal = "is being written by another run|was taken by another run";

test.each([
  ["one namespace", "", true],
  ["separate process namespaces, with the same numbers", "unshare --pid --fork --mount-proc", canUnshare],
  ["process namespaces whose /proc is another's", "unshare --pid --fork", canUnshare],
])(
  "of three runs in %s, one writes and the others are refused",
  (name, before, can) => {
    if (!can) return expect(canUnshare).toBe(false);
    const out = name.replaceAll(/\W+/g, "-");
    const run = [process.execPath, cliPath, ...longRun, "--out", out].map((word) => `'${word}'`).join(" ");
    const script = `for i in 1 2 3; do ( ${before} ${run} >/dev/null 2>err$i; echo $? ) & done; wait`;
    const { stdout } = spawnSync("bash", ["-c", script], { cwd: folder, encoding: "utf8" });
    expect(stdout.trim().split("\n").sort()).toEqual(["0", "1", "1"]);
    const refused = [1, 2, 3].filter(
      (i) => spawnSync("grep", ["-Eq", refusal, `err${i}`], { cwd: folder }).status === 0,
    );
    expect(refused).toHaveLength(2);
    expect(existsSync(join(folder, out, "model.onnx"))).toBe(true);
    expect(readdirSync(join(folder, out)).filter((file) => file.startsWith(".frostbit.lock"))).toEqual([]);
  },
  180_000,
);
