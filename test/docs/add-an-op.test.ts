// docs/internals/add-an-op.md, followed to the letter in a copy of the sources; and each of its pieces left out.
import { readFileSync, writeFileSync } from "node:fs";
import { cp, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Form } from "../operators/examples/example.ts";
import { blocksOf, root } from "../support/markdown.ts";

const op = "ReverseSequence";

interface Piece {
  readonly file: string;
  /** The table that the code is an entry of; it is added at the end of the file where absent. */
  readonly table?: string;
  readonly code: string;
}

/** A block's first line says where it belongs. */
function pieceOf(code: string): Piece {
  const [, table, file, rest] = /^\/\/ (?:at the end|in (\w+)) of (\S+)\n(.*)$/s.exec(code) ?? [];
  if (!file) throw new Error(`a block of add-an-op.md does not say where it belongs: ${code.slice(0, 60)}`);
  return { file, code: rest, ...(table ? { table } : {}) };
}

const pieces = blocksOf("docs/internals/add-an-op.md")
  .filter(({ language }) => language === "ts")
  .map(({ code }) => pieceOf(code));

const [definition] = pieces;

function withPiece(text: string, { table, code }: Piece): string {
  if (table === undefined) return `${text}\n${code}`;
  const start = `export const ${table} = {\n`;
  expect(text).toContain(start);
  return text.replace(start, () => start + code);
}

const original = (file: string): string => readFileSync(join(root, file), "utf8");

let copy = "";

beforeAll(async () => {
  copy = await mkdtemp(join(tmpdir(), "frostbit-add-an-op-"));
  const isNeeded = (source: string): boolean => !source.endsWith(".test.ts");
  for (const folder of ["src", "test/operators", "test/support"])
    await cp(join(root, folder), join(copy, folder), { recursive: true, filter: isNeeded });
  await cp(join(root, "package.json"), join(copy, "package.json"));
  await symlink(join(root, "node_modules"), join(copy, "node_modules"));
  for (const piece of pieces) writeFileSync(join(copy, piece.file), withPiece(original(piece.file), piece));
});

afterAll(() => rm(copy, { recursive: true, force: true }));

const { options } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile).config,
  ts.sys,
  root,
);
const checked = ["src/ops/index.ts", "src/ops/indexing.ts", "src/kernels/index.ts", "test/operators/examples/index.ts"];
let before: ts.Program | undefined;

/** What the compiler says of the copy, with other texts in place of some files. */
function errorsWith(
  texts: ReadonlyMap<string, string> = new Map(),
  files: readonly string[] = checked,
): readonly string[] {
  const host = ts.createCompilerHost(options);
  const getSourceFile: ts.CompilerHost["getSourceFile"] = (path, version) => {
    const text = texts.get(path) ?? ts.sys.readFile(path);
    const kept = before?.getSourceFile(path);
    if (text === undefined || kept?.text === text) return kept;
    return ts.createSourceFile(path, text, version);
  };
  const roots = files.map((file) => join(copy, file));
  const program = ts.createProgram(roots, options, { ...host, getSourceFile }, before);
  before = program;
  return roots
    .flatMap((path) => program.getSemanticDiagnostics(program.getSourceFile(path)))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"));
}

describe("the compiler", () => {
  test("is content with all pieces", () => {
    expect(pieces.map(({ file }) => file)).toEqual([
      "src/ops/indexing.ts",
      "src/kernels/indexing.ts",
      "test/operators/examples/indexing.ts",
    ]);
    expect(errorsWith(new Map(), [...checked, ...pieces.map(({ file }) => file)])).toEqual([]);
  });

  test.each(pieces.slice(1))("misses the piece in $file", ({ file }) => {
    expect(errorsWith(new Map([[join(copy, file), original(file)]]))).toEqual([
      expect.stringContaining(`Property '${op}' is missing`),
    ]);
  });

  const fields = ["introduced", "inputs", "outputs", "sampleAxis", "movesValues", "infer", "gradient", "cost"];

  test("misses each field of the definition, and does not let an operator of ONNX be called our own", () => {
    const changed = [
      ...fields.map((field) => ({
        code: definition.code.replace(new RegExp(`^  ${field}:.*\n(?:    .*\n|  \\},?\n)*`, "m"), ""),
        error: `Property '${field}' is missing`,
      })),
      {
        code: definition.code.replace("introduced: 10", 'introduced: "own"'),
        error: "Type 'string' is not assignable to type 'number'",
      },
    ];
    const named = changed.map(({ code }, i) => code.replace(`const ${op}`, `const ${op}${i}`));
    const text = named.reduce((all, code) => withPiece(all, { ...definition, code }), original(definition.file));
    const errors = errorsWith(new Map([[join(copy, definition.file), text]]), [definition.file]);
    expect(errors).toEqual(changed.map(({ error }) => expect.stringContaining(error)));
  });
});

describe("the example", () => {
  type Copied<Module> = (file: string) => Promise<Module>;
  const load: Copied<Record<string, unknown>> = (file) => import(join(copy, file));

  async function loaded() {
    const { formsOf } = (await load("test/operators/examples/index.ts")) as { formsOf: Record<string, Form[]> };
    const { kernels } = (await load("src/kernels/index.ts")) as typeof import("../../src/kernels/index.ts");
    return { form: formsOf[op][0], kernels };
  }

  test("agrees with ONNX Runtime", async () => {
    const { form } = await loaded();
    const { checkExample } = (await load(
      "test/support/forward-examples.ts",
    )) as typeof import("../support/forward-examples.ts");
    await checkExample({ op, ...form });
  });

  test("has the gradient that finite differences give", async () => {
    const { form, kernels } = await loaded();
    const { checkGradients } = (await load(
      "test/support/gradient-check.ts",
    )) as typeof import("../support/gradient-check.ts");
    checkGradients(op, form.inputs, form.attributes ?? {}, { kernels, outputs: 1, cotangents: [0] });
  });
});
