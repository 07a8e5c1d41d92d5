// The published types as the compiler of somebody else's project sees them: every file of every dependency is checked.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

let project = "";

function link(name: string): void {
  const place = join(project, "node_modules", name);
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(join(root, "node_modules", name), place);
}

/** The tarball unpacked, and beside it what it depends on, without any of its optional peers. */
beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), "frostbit-types-"));
  mkdirSync(join(project, "node_modules"));
  const words = ["pack", "--ignore-scripts", "--silent", "--pack-destination", project];
  execFileSync("npm", words, { cwd: root });
  const [tarball] = readdirSync(project).filter((file) => file.endsWith(".tgz"));
  execFileSync("tar", ["-xzf", tarball], { cwd: project });
  execFileSync("mv", ["package", "node_modules/frostbit"], { cwd: project });
  const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    dependencies: Readonly<Record<string, string>>;
  };
  for (const name of Object.keys(dependencies)) link(name);
  writeFileSync(join(project, "package.json"), '{ "private": true, "type": "module" }');
});
afterAll(() => rmSync(project, { recursive: true }));

/** What the compiler says of a program; "" where it has nothing to say. */
function complaintsAbout(program: string, options: Readonly<Record<string, unknown>>): string {
  writeFileSync(join(project, "program.ts"), program);
  const compilerOptions = {
    target: "ES2023",
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    ...options,
  };
  writeFileSync(
    join(project, "tsconfig.json"),
    JSON.stringify({ compilerOptions: { types: [], ...compilerOptions }, files: ["program.ts"] }),
  );
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  return spawnSync(process.execPath, [tsc, "-p", project], { encoding: "utf8" }).stdout;
}

const both = `
import { type Dataset, quantizeFile, type Report, type RunOptions, resolvePreprocess, runOptions, tensorOf } from "frostbit";
import { runtimeOf } from "frostbit/browser";

const options: RunOptions = runOptions.parse({ quantize: { weights: 4 } });
const data: Dataset = {
  name: "three",
  length: 3,
  inputs: new Map([["x", { dtype: "float32", shape: [2] }]]),
  hasLabels: false,
  read: (indices) => ({ inputs: new Map([["x", tensorOf("float32", [indices.length, 2], new Float32Array(2 * indices.length))]]) }),
};
export const accuracy = ({ top1 }: Report): number | null => top1.deployed;
// @ts-expect-error: no such preset, which types that came out as any would not notice
resolvePreprocess("imagnet");
export { data, options, quantizeFile, runtimeOf };
`;

const resolutions = [
  { module: "NodeNext", moduleResolution: "NodeNext" },
  { module: "ESNext", moduleResolution: "Bundler" },
];

describe.each(resolutions)("with moduleResolution $moduleResolution", (resolution) => {
  test("a project that has Frostbit alone compiles, all files of types checked", () => {
    expect(complaintsAbout(both, { ...resolution, skipLibCheck: false })).toBe("");
  });
});

test("the modules of ONNX Runtime are what runtimeOf takes", () => {
  link("onnxruntime-web");
  link("onnxruntime-node");
  const program = `
import { runtimeOf } from "frostbit/browser";
import * as node from "onnxruntime-node";
import * as wasm from "onnxruntime-web/wasm";
import * as webgpu from "onnxruntime-web/webgpu";
export const runtimes = [runtimeOf(node), runtimeOf(wasm), runtimeOf(webgpu, { provider: "webgpu" })];
`;
  expect(complaintsAbout(program, { ...resolutions[1], skipLibCheck: true })).toBe("");
});
