// Sources for processes that run without vitest.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");

/** Calls `use` with a folder that has these modules of src/ as JavaScript, under their names; what they share is there once. */
export async function withSources<T>(modules: readonly string[], use: (folder: string) => Promise<T>): Promise<T> {
  mkdirSync(join(root, "build"), { recursive: true });
  const dir = mkdtempSync(join(root, "build/sources-"));
  try {
    // Here, since Node for arm64 under emulation finds it for x64 alone.
    const { build } = await import("rolldown");
    const input = Object.fromEntries(modules.map((name) => [name, join(root, "src", `${name}.ts`)]));
    await build({ input, platform: "node", external: /^[^./]/, output: { dir } });
    return await use(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}
