// Models that nobody knows: what ends the command that looks into them.
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeNpy } from "../../src/data/npy.ts";
import { zeros } from "../../src/ir/tensor.ts";
import { largeModel } from "../support/large-models.ts";
import { cliPath, runCli } from "../support/run-cli.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-limits-"));
  await writeFile(join(folder, "small.onnx"), largeModel("products", 3));
  await writeFile(join(folder, "large.onnx"), largeModel("layers", 150_000));
}, 60_000);
afterAll(() => rm(folder, { recursive: true }));

describe("inspect", () => {
  test("ends beyond its memory, and says what ended it", async () => {
    const { code, stderr } = await runCli(["inspect", "large.onnx", "--max-memory", "220"], folder);
    expect(stderr).toBe(
      "error: large.onnx: inspecting it was ended, since it took more than 220 MB of memory. --max-memory sets another limit.\n",
    );
    expect(code).toBe(1);
  }, 60_000);
  test("ends after its time, and says so", async () => {
    const result = await runCli(["inspect", "large.onnx", "--max-time", "1", "--json"], folder);
    expect(result.code).toBe(1);
    expect(result.json()).toMatchObject({
      error: { code: "BAD_MODEL", message: expect.stringMatching(/more than 1 s/) },
    });
  }, 60_000);
  test("within its limits gives what it gives without", async () => {
    const limited = await runCli(["inspect", "small.onnx", "--max-memory", "1000", "--max-time", "100"], folder);
    const plain = await runCli(["inspect", "small.onnx"], folder);
    expect(limited.stdout).toBe(plain.stdout);
    expect(plain.stdout).toContain("12 parameters");
  }, 60_000);
  test.each(["--max-memory", "--max-time"])(
    "%s does not belong to --plan",
    async (flag) => {
      const { code, stderr } = await runCli(["inspect", "small.onnx", "--plan", flag, "300"], folder);
      expect(stderr).toBe(`error: ${flag} does not belong to --plan. Leave it out.\n`);
      expect(code).toBe(1);
    },
    60_000,
  );
});

test.each([
  ["inspect", []],
  ["quantize", ["--method", "ptq", "--data", "npy:x.npy", "--out", "out"]],
  ["compare", ["large.onnx", "--data", "npy:x.npy"]],
])(
  "Ctrl-C ends %s at once while it reads a large model",
  async (command, more) => {
    // Whole, so that nothing but the signal ends the command.
    await writeFile(join(folder, "x.npy"), writeNpy(zeros("float32", [4, 2])));
    const child = spawn(process.execPath, [cliPath, command, "large.onnx", ...more], { cwd: folder, stdio: "ignore" });
    const ended = new Promise<unknown>((resolve) => {
      // The shell's code for the signal, which ends it itself while its modules are loaded.
      child.once("exit", (code, signal) => resolve(signal === "SIGINT" ? 130 : code));
    });
    await pause(700);
    child.kill("SIGINT");
    expect(await Promise.race([ended, pause(5000, "still running")])).toBe(130);
  },
  60_000,
);
