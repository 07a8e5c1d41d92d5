// Commands whose output nobody reads, or that has no space; Ctrl-C at any time.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cliPath } from "../support/run-cli.ts";
import { writeInputs } from "./durability.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "frostbit-streams-"));
  writeInputs(folder);
});
afterAll(() => rmSync(folder, { recursive: true }));

const quick = ["quantize", "conv.onnx", "--data", "cifar10:cifar", "--method", "ptq", "--calibration-samples", "64"];
const command = (out: string): string =>
  [process.execPath, cliPath, ...quick, "--out", out].map((word) => `'${word}'`).join(" ");
/** The exit code of the command, not of what reads from it. */
const bash = (script: string): { status: number | null; stdout: string; stderr: string } =>
  spawnSync("bash", ["-c", `set -o pipefail\n${script}`], { cwd: folder, encoding: "utf8", maxBuffer: 2 ** 28 });

describe("a run goes to its end, with its files and its exit code,", () => {
  test.each([
    ["whose standard error is closed", (run: string) => `{ ${run} 3>&2 2>&1 >&3 | true; exit \${PIPESTATUS[0]}; }`],
    ["of which one line is read", (run: string) => `${run} 2>&1 | head -1 >/dev/null; exit \${PIPESTATUS[0]}`],
    ["whose standard error has no space", (run: string) => `${run} 2>/dev/full`],
    ["whose result nobody reads", (run: string) => `${run} | true; exit \${PIPESTATUS[0]}`],
    ["whose streams are closed", (run: string) => `${run} 2>&- >&-`],
  ])(
    "%s",
    (name, script) => {
      const out = name.replaceAll(" ", "-");
      const { status, stderr } = bash(script(command(out)));
      expect(status, stderr).toBe(0);
      expect(existsSync(join(folder, out, "model.onnx"))).toBe(true);
      expect(existsSync(join(folder, out, "report.html"))).toBe(true);
    },
    60_000,
  );

  test("unless its result is lost: a full disk on standard output is an error", () => {
    const { status, stderr } = bash(`${command("full")} >/dev/full`);
    expect([status, existsSync(join(folder, "full/model.onnx"))]).toEqual([1, true]);
    expect(stderr).toContain("error: Cannot write to standard output: the disk is full.");
  }, 60_000);

  test("and so does an error's exit code", () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: for bash
    for (const to of ["2>/dev/full", "2>&1 | true; exit ${PIPESTATUS[0]}", ">/dev/full 2>/dev/full"])
      expect(bash(`'${process.execPath}' '${cliPath}' inspect none.onnx --json ${to}`).status).toBe(1);
  }, 60_000);
});

describe("Ctrl-C", () => {
  test("ends a command within a second while it reads, as the shell sees it with 130", async () => {
    // 480 MB of one tensor, at which nothing gives way.
    writeFileSync(join(folder, "large.onnx"), Buffer.alloc(480_000_000, 0x0a));
    const child = spawn(
      "bash",
      ["-c", `'${process.execPath}' '${cliPath}' inspect large.onnx & echo $!; wait $!; echo code $?`],
      {
        cwd: folder,
      },
    );
    let stdout = "";
    child.stdout.on("data", (part) => {
      stdout += String(part);
    });
    const closed = new Promise((resolve) => child.on("close", resolve));
    await new Promise((resolve) => setTimeout(resolve, 700));
    const started = performance.now();
    process.kill(Number(stdout.split("\n")[0]), "SIGINT");
    await closed;
    expect(performance.now() - started).toBeLessThan(1000);
    expect(stdout).toMatch(/code 130/);
    rmSync(join(folder, "large.onnx"));
  }, 60_000);

  test("ends a measurement within a second though its step takes longer", async () => {
    writeFileSync(
      join(folder, "endless.mjs"),
      `const types = { image: { dtype: "float32", shape: [3, 32, 32], layout: "nchw" } };
let calls = 0;
export const train = { length: 25600, inputs: types, hasLabels: true, read: async ({ length }) => {
  if (calls++ > 2) await new Promise((resolve) => setTimeout(resolve, 30_000));
  return { inputs: { image: { dtype: "float32", shape: [length, 3, 32, 32], data: new Float32Array(length * 3072) } },
    labels: { dtype: "int64", shape: [length], data: new BigInt64Array(length) } };
} };`,
    );
    const child = spawn(process.execPath, [cliPath, "evaluate", "conv.onnx", "--data", "module:endless.mjs"], {
      cwd: folder,
    });
    const closed = new Promise<number | null>((resolve) => child.on("close", resolve));
    await new Promise((resolve) => child.stderr.once("data", resolve));
    const started = performance.now();
    child.kill("SIGINT");
    expect(await closed).toBe(130);
    expect(performance.now() - started).toBeLessThan(1500);
  }, 60_000);
});
