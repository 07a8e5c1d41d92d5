// Every code block in README.md and docs/ that is marked "runnable" runs, in a project that has Frostbit installed.
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { transpile } from "typescript";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

interface Snippet {
  readonly where: string;
  readonly code: string;
}

function snippetsOf(file: string): readonly Snippet[] {
  const text = readFileSync(join(root, file), "utf8");
  return [...text.matchAll(/^```(js|ts) runnable\n(.*?)^```/gms)].map(({ 1: language, 2: code, index }) => ({
    where: `${file}:${text.slice(0, index).split("\n").length}`,
    code: language === "ts" ? transpile(code, { target: 99, module: 99 }) : code,
  }));
}

const files = [
  ...["README.md"].filter((file) => existsSync(join(root, file))),
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((file) => join("docs", file)),
];
const snippets = files.flatMap(snippetsOf);

/** The same code in two places runs once. */
const places = new Map(
  snippets.map(({ code }) => [code, snippets.filter((other) => other.code === code).map(({ where }) => where)]),
);

let project = "";
beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), "frostbit-docs-"));
  await mkdir(join(project, "node_modules"));
  await symlink(root, join(project, "node_modules/frostbit"));
});
afterAll(() => rm(project, { recursive: true }));

describe("runnable snippets", () => {
  for (const [code, where] of places) {
    test(`${where.join(", ")} runs`, async () => {
      const file = join(project, `${where[0].replace(/\W+/g, "-")}.mjs`);
      await writeFile(file, code);
      const { stdout } = await promisify(execFile)(process.execPath, [file], { cwd: project });
      expect(stdout).not.toBe("");
    }, 600_000);
  }

  test("the code of the guide to browsers is the example's", () => {
    const guide = readFileSync(join(root, "docs/guide/in-the-browser.md"), "utf8");
    const blocks = [...guide.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code.trimEnd());
    const example = readFileSync(join(root, "examples/browser/worker.js"), "utf8");
    expect(blocks.length).toBeGreaterThan(0);
    for (const code of blocks) expect(example).toContain(code);
  });

  test("the guide's code is the library example's", () => {
    const [guide] = snippetsOf("docs/guide/quantize-a-cnn.md");
    const example = readFileSync(join(root, "examples/library/quantize.js"), "utf8");
    expect(example).toContain(guide.code.trimEnd());
  });
});
