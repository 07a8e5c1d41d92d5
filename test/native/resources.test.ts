// Memory and threads: what the addon takes it gives back, and what it does not get is an error. Apart from misuse.test.ts because
// the address sanitizer has limits of its own.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { addonPath, isNativeBuilt, notBuilt } from "../support/native.ts";

const run = promisify(execFile);

describe.skipIf(!isNativeBuilt)(`the addon's resources${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test("1,000 compilations and disposals leave the resident memory where it was; what is disposed of goes at once", async () => {
    const script = join(import.meta.dirname, "growth.js");
    const { stdout } = await run(process.execPath, ["--expose-gc", script, "1000"]);
    const found = JSON.parse(stdout) as { resident: number[]; planned: number; given: number };
    const { resident, planned, given } = found;
    // V8 and the allocator take some megabytes in one round and give them back in another: what leaks is there in the least too.
    const [first, last] = [resident.slice(0, 3), resident.slice(3)].map((some) => Math.min(...some));
    expect(last - first, `MB: ${resident.join(", ")}`).toBeLessThan(12);
    // The plan's values of a batch of 512; the rest is the primitives' scratch and what JavaScript holds.
    expect(planned).toBeGreaterThan(90);
    expect(given, `of ${planned} MB`).toBeGreaterThan(0.85 * planned);
  }, 300_000);

  test("memory that the system does not have is an error", async () => {
    const script = join(import.meta.dirname, "misuse.js");
    const { stdout } = await run(process.execPath, [script, addonPath, "tooMuchMemory"]);
    expect(JSON.parse(stdout)).toBe("out of memory");
  });

  test("a system that gives no more threads is an error", async () => {
    const script = join(import.meta.dirname, "misuse.js");
    const command = `ulimit -v 8000000; exec "$0" "$@"`;
    const { stdout } = await run("bash", ["-c", command, process.execPath, script, addonPath, "tooManyThreads"]);
    expect(JSON.parse(stdout)).toBe("Resource temporarily unavailable");
  });
});
