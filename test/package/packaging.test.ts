// What is published: its contents, its types, its exports.
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

interface Packed {
  readonly size: number;
  readonly files: readonly { readonly path: string }[];
}

const allowed = [
  /^(CHANGELOG\.md|LICENSE|README\.md|package\.json)$/,
  /^dist\/([\w-]+\/)*[\w-]+\.(js|d\.ts)$/,
  /^examples\/shapes\/(README\.md|shapes\.js|shapes\.onnx)$/,
];

describe("npm pack", () => {
  let packed: Packed;
  beforeAll(() => {
    const words = ["pack", "--dry-run", "--json", "--ignore-scripts"];
    [packed] = JSON.parse(execFileSync("npm", words, { cwd: root, encoding: "utf8" })) as Packed[];
  });

  test("holds the compiled sources, the example and the texts, and nothing else", () => {
    const paths = packed.files.map(({ path }) => path);
    expect(paths.filter((path) => !allowed.some((pattern) => pattern.test(path)))).toEqual([]);
    expect(paths).toEqual(
      expect.arrayContaining(["dist/index.js", "dist/index.d.ts", "dist/cli/main.js", "examples/shapes/shapes.onnx"]),
    );
  });

  test("holds no tests, and stays below 1.2 MB", () => {
    expect(packed.files.filter(({ path }) => /\.test\.|(^|\/)test\//.test(path))).toEqual([]);
    expect(packed.size).toBeLessThan(1.2e6);
  });
});

/** A tool of the development dependencies. */
function runTool(name: string, ...words: readonly string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(join(root, "node_modules/.bin", name), words, {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, npm_config_ignore_scripts: "true" },
  });
  return { status, output: stdout + stderr };
}

describe("the types and exports", () => {
  test("resolve in Node's modules and in bundlers, says attw", () => {
    const { status, output } = runTool("attw", "--pack", ".", "--profile", "esm-only", "--format", "ascii");
    expect(status, output).toBe(0);
  });

  test("are as publint wants them", () => {
    const { status, output } = runTool("publint", "--strict");
    expect(status, output).toBe(0);
    expect(output).toContain("All good!");
  });
});
