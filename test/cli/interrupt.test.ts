// Ctrl-C while the main thread is busy and no listener of JavaScript's hears it: the command ends by itself, long before the thread is free.
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isNativeBuilt } from "../../src/engines/native/addon.ts";
import { cliPath } from "../support/run-cli.ts";
import { tinyConvNet } from "../support/tiny-models.ts";

const busySeconds = 60;

/** Data whose fourth part keeps the thread busy, after a word that it has come to it. */
const busyData = `import { writeSync } from "node:fs";
const types = { image: { dtype: "float32", shape: [3, 32, 32] } };
let calls = 0;
export const train = { length: 25600, inputs: types, hasLabels: true, read: async ({ length }) => {
  if (calls++ > 2) {
    writeSync(2, "busy\\n");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${busySeconds * 1000});
  }
  return { inputs: { image: { dtype: "float32", shape: [length, 3, 32, 32], data: new Float32Array(length * 3072).fill(1) } },
    labels: { dtype: "int64", shape: [length], data: new BigInt64Array(length) } };
} };
export const test = train;`;

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "frostbit-interrupt-"));
  writeFileSync(join(folder, "conv.onnx"), tinyConvNet({ size: 32 }));
  writeFileSync(join(folder, "busy.mjs"), busyData);
});
afterAll(() => rmSync(folder, { recursive: true }));

test.skipIf(!isNativeBuilt()).each([
  ["evaluate", ["conv.onnx"]],
  ["compare", ["conv.onnx", "conv.onnx", "--limit", "25600"]],
  ["quantize", ["conv.onnx", "--method", "ptq", "--out", "out"]],
])(
  "ends %s with code 130, and without its lock",
  async (command, more) => {
    const child = spawn(process.execPath, [cliPath, command, ...more, "--data", "module:busy.mjs"], { cwd: folder });
    let [stderr, sent] = ["", 0];
    child.stderr.on("data", (part) => {
      stderr += String(part);
      if (sent > 0 || !stderr.includes("busy")) return;
      sent = performance.now();
      child.kill("SIGINT");
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect(code, stderr).toBe(130);
    expect((performance.now() - sent) / 1000).toBeLessThan(busySeconds / 4);
    expect(command === "quantize" ? readdirSync(join(folder, "out")) : []).toEqual([]);
  },
  2 * busySeconds * 1000,
);
