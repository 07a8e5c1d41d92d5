// The command with kernels chosen by measurement: a run keeps its own, whatever is remembered later.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { readKernelCache } from "../../src/engines/native/kernel-cache.ts";
import { isNativeBuilt, notBuilt } from "../support/native.ts";
import { cliPath } from "../support/run-cli.ts";
import { modelIn, runOnce, writeInputs } from "./durability.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "frostbit-tuned-"));
  writeInputs(folder);
});
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => vi.stubEnv("XDG_CACHE_HOME", join(folder, "cache")));
afterEach(() => vi.unstubAllEnvs());

const cachePath = (): string => join(folder, "cache", "frostbit", "kernels.json");

/** All weights train, so that all gradients are computed. */
const qat =
  "quantize conv.onnx --data cifar10:cifar --preprocess imagenet --batch 32 --calibration-samples 64 --threads 1 --weights 4 --activations 4 --method qat --steps 40 --checkpoint-every 2 --accept-loss --engine native";

const command = (out: string, ...more: readonly string[]): readonly string[] => [
  ...qat.split(" "),
  ...["--out", out, ...more],
];

/** Weights before they are rounded to 4 bits, which hide last digits. */
const trainedIn = (out: string): string =>
  readFileSync(join(folder, out, "checkpoint/variables-40.safetensors")).toString("base64");

/** Killed once there is a checkpoint. */
function runUntilCheckpoint(out: string): Promise<void> {
  const child = spawn(process.execPath, [cliPath, ...command(out)], { cwd: folder, stdio: "ignore" });
  const timer = setInterval(() => {
    if (existsSync(join(folder, out, "checkpoint/state.json"))) child.kill("SIGKILL");
  }, 1);
  return new Promise((resolve) => {
    child.on("close", () => {
      clearInterval(timer);
      resolve();
    });
  });
}

/** The cache, as if other kernels had been the fastest. */
function rememberOthers(): void {
  const machines = [...readKernelCache(cachePath()).machines].map(([machine, answers]) => [
    machine,
    Object.fromEntries(
      [...answers].map(([question, answer]) => [
        question,
        { ...answer, kernel: Object.keys(answer.ms).find((kernel) => kernel !== answer.kernel) },
      ]),
    ),
  ]);
  writeFileSync(cachePath(), JSON.stringify({ format: "frostbit-kernels-1", machines: Object.fromEntries(machines) }));
}

describe.skipIf(!isNativeBuilt)(`kernels of a run${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test("stay those that it began with, and another --tune is refused", async ({ skip }) => {
    const whole = await runOnce(folder, command("whole"));
    expect(whole.code, whole.stderr).toBe(0);
    if (!existsSync(cachePath())) skip("this processor has one kernel for each");
    const again = await runOnce(folder, command("again"));
    expect(again.code, again.stderr).toBe(0);
    expect(trainedIn("again")).toBe(trainedIn("whole"));
    await runUntilCheckpoint("stopped");
    rememberOthers();
    const otherwise = await runOnce(folder, command("stopped", "--resume", "--tune", "off"));
    expect(otherwise.code).toBe(1);
    expect(otherwise.stderr).toContain("tune was fast and is off");
    const resumed = await runOnce(folder, command("stopped", "--resume"));
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(modelIn(folder, "stopped")).toEqual(modelIn(folder, "whole"));
    expect(trainedIn("stopped")).toBe(trainedIn("whole"));
    const kernelsIn = (out: string): string => readFileSync(join(folder, out, "checkpoint/kernels.json"), "utf8");
    expect(kernelsIn("stopped")).toBe(kernelsIn("whole"));
    const others = await runOnce(folder, command("others"));
    expect(others.code, others.stderr).toBe(0);
    expect(kernelsIn("others")).not.toBe(kernelsIn("whole"));
    expect(trainedIn("others")).not.toBe(trainedIn("whole"));
  }, 300_000);
});
