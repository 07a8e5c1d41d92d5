// The pages that tell how to add something, followed literally: with their code the sources compile, and what is left out is named.
import { expect, test } from "vitest";
import { compileErrors, type Piece, piecesOf } from "../support/page-code.ts";

const engine = piecesOf("docs/internals/add-an-engine.md");
const format = piecesOf("docs/internals/add-an-export-format.md");
const modelFormat = piecesOf("docs/internals/add-a-model-format.md");
const minute = 60_000;

const without = (pieces: readonly Piece[], path: string): readonly Piece[] =>
  pieces.filter((piece) => piece.path !== path);

/** The pieces without the lines that match. */
const withoutLines = (pieces: readonly Piece[], pattern: RegExp): readonly Piece[] =>
  pieces.map((piece) => ({
    ...piece,
    code: piece.code
      .split("\n")
      .filter((line) => !pattern.test(line))
      .join("\n"),
  }));

test("an engine", { timeout: 3 * minute }, () => {
  const suite = "test/engines/conformance.test.ts";
  expect(engine.map(({ path }) => path)).toEqual([
    "src/engines/counting/counting-engine.ts",
    "src/engines/table.ts",
    suite,
  ]);
  expect(compileErrors(engine)).toEqual([]);
  expect(compileErrors(without(engine, suite), [suite]).join()).toMatch(/Property 'counting' is missing/);
  expect(compileErrors(withoutLines(engine, /isRequired/)).join()).toMatch(/Property 'isRequired' is missing/);
});

test("an export format", { timeout: 3 * minute }, () => {
  expect(format.map(({ path }) => path)).toEqual(["src/export/raw-integers.ts", "src/export/formats.ts"]);
  expect(compileErrors(format)).toEqual([]);
  const unverified = format.map((piece) => ({
    ...piece,
    code: piece.code.replace(/ {2}verify: [\s\S]*?\n {2}\},\n/, ""),
  }));
  expect(compileErrors(unverified).join()).toMatch(/Property 'verify' is missing/);
});

test("a model format", { timeout: 4 * minute }, () => {
  const [reader, formats, readers, examples] = [
    "src/dense/read.ts",
    "src/onnx/model-formats.ts",
    "src/node/model-readers.ts",
    "src/node/read-model.test.ts",
  ];
  expect(modelFormat.map(({ path }) => path)).toEqual([reader, formats, readers, examples]);
  expect(compileErrors(modelFormat)).toEqual([]);
  expect(compileErrors(without(modelFormat, readers), [readers]).join()).toMatch(/Property 'dense' is missing/);
  expect(compileErrors(without(modelFormat, examples), [examples]).join()).toMatch(/Property 'dense' is missing/);
  const unread = withoutLines(modelFormat, /dense: \{ description/);
  expect(compileErrors(unread).join()).toMatch(/'dense' does not exist in type/);
});
