// Pages that come from the code say what it says now.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { writtenPages } from "../../scripts/written-pages.ts";

const root = join(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");

test.each([...writtenPages(read)])("docs/%s is what `npm run docs` writes", (name, page) => {
  expect(read(`docs/${name}`)).toBe(page);
});

test("docs/methods/ has no page that nobody writes", () => {
  const written = [...writtenPages(read).keys()];
  expect(readdirSync(join(root, "docs/methods")).filter((name) => !written.includes(`methods/${name}`))).toEqual([]);
});

/** Paths of the files below a folder, and their texts. */
function filesBelow(folder: string): ReadonlyMap<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  const files = names.filter((name) => statSync(join(folder, name)).isFile()).sort();
  return new Map(files.map((name) => [name, readFileSync(join(folder, name), "utf8")]));
}

describe("docs/api", () => {
  /** TypeDoc fails where an export has no docstring, or names a type that is not exported. */
  test("is what TypeDoc writes, and every public export has a docstring", () => {
    const folder = mkdtempSync(join(tmpdir(), "frostbit-api-"));
    try {
      const typedoc = join(root, "node_modules/typedoc/bin/typedoc");
      const { status, stdout, stderr } = spawnSync(process.execPath, [typedoc, "--out", folder], {
        cwd: root,
        encoding: "utf8",
      });
      expect(status, stdout + stderr).toBe(0);
      expect(filesBelow(join(root, "docs/api"))).toEqual(filesBelow(folder));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
