// The packages of a release, in an empty project on a machine without oneDNN.
import { execFile, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { addonPath, isNativeBuilt } from "../support/native.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");

const whyNot = !isNativeBuilt
  ? "the native engine is not built: npm run build:native"
  : process.platform !== "linux" || spawnSync("dpkg", ["--version"]).status !== 0
    ? "packages are made on Debian or Ubuntu"
    : undefined;

/** The system's libraries that the package brings itself. */
async function hiddenLibraries(): Promise<readonly string[]> {
  const { stdout } = await run("ldd", [addonPath]);
  return [...stdout.matchAll(/=> (\/\S*(?:dnnl|gomp|OpenCL)\S*)/g)].map(([, path]) => realpathSync(path));
}

/** A shell's words that start a command where these files are empty; none where the system allows no such thing. */
function hiding(files: readonly string[]): readonly string[] {
  const flags = ["-m", "-rm"].find((each) => spawnSync("unshare", [each, "true"]).status === 0);
  if (flags === undefined) return [];
  const mounts = files.map((file) => `mount --bind /dev/null '${file}'`).join(" && ");
  return ["unshare", flags, "bash", "-c", `${mounts} && exec "$@"`, "bash"];
}

describe.skipIf(whyNot !== undefined)(`the native package${whyNot === undefined ? "" : ` (${whyNot})`}`, () => {
  test("brings all that it links, and trains where the system has no oneDNN", async ({ skip }) => {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), "frostbit-package-")));
    try {
      await run(process.execPath, [join(root, "scripts/prebuild.js"), "--as-built", folder]);
      const packages = readdirSync(folder).map((file) => join(folder, file));
      expect(packages.length).toBe(2);
      writeFileSync(join(folder, "package.json"), '{ "private": true }');
      const flags = ["--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"];
      const installed = spawnSync("npm", ["install", ...flags, ...packages], { cwd: folder, encoding: "utf8" });
      if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENOTCACHED/.test(installed.stderr)) skip("npm's registry is out of reach");
      expect(installed.status, installed.stderr).toBe(0);
      copyFileSync(join(import.meta.dirname, "train-step.mjs"), join(folder, "train-step.mjs"));
      const words = [...hiding(await hiddenLibraries()), process.execPath, "train-step.mjs"];
      const { stdout } = await run(words[0], words.slice(1), { cwd: folder });
      const { losses, libraries } = JSON.parse(stdout) as { losses: number[]; libraries: string[] };
      expect(losses[2], losses.join(", ")).toBeLessThan(0.95 * losses[0]);
      const own = join(folder, "node_modules", `frostbit-native-linux-${process.arch}/`);
      expect(libraries.length).toBe(4);
      expect(libraries.filter((file) => !file.startsWith(own))).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }, 300_000);
});
