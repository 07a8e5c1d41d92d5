import { CommanderError } from "commander";
import { describe, expect, test } from "vitest";
import { errorAt, FrostbitError } from "../ir/errors.ts";
import { parseInstructionSets } from "../node/examine-machine.ts";
import { failureOf } from "./errors.ts";
import { printableLines } from "./printable.ts";
import { formatCount, formatTable } from "./table.ts";

describe("failures", () => {
  test("the user's are their message, exit code 1", () => {
    expect(failureOf(new FrostbitError("BAD_DATA", "x.npy is empty."), false)).toEqual({
      lines: ["error: x.npy is empty."],
      exitCode: 1,
      json: { error: { code: "BAD_DATA", message: "x.npy is empty." } },
    });
  });

  test("an interruption is not an error: its message alone, exit code 130", () => {
    expect(failureOf(new FrostbitError("ABORTED", "Stopped."), false)).toMatchObject({
      lines: ["Stopped."],
      exitCode: 130,
    });
  });

  test("ours say so and exit with 70, the stack with --verbose", () => {
    const error = new Error("internal: no such value");
    expect(failureOf(error, false)).toEqual({
      lines: [
        "internal: no such value. This is a bug in frostbit; please report it. Run again with --verbose for the stack.",
      ],
      exitCode: 70,
      json: {
        error: {
          code: "INTERNAL",
          message: "internal: no such value. This is a bug in frostbit; please report it.",
        },
      },
    });
    expect(failureOf(new TypeError("x is undefined"), true).lines.join("\n")).toMatch(
      /^internal: x is undefined\.[^\n]*\nTypeError: .*\n {4}at /,
    );
  });

  test("commander has already printed its own; help is not a failure", () => {
    expect(failureOf(new CommanderError(0, "commander.help", ""), false)).toEqual({ lines: [], exitCode: 0 });
    expect(failureOf(new CommanderError(1, "commander.unknownOption", "error: unknown option '--x'"), false)).toEqual({
      lines: [],
      exitCode: 1,
      json: { error: { code: "BAD_OPTION", message: "unknown option '--x'" } },
    });
  });
});

test("tables have columns as wide as their widest cell", () => {
  expect(
    formatTable(
      ["name", "n"],
      [
        ["a", "10"],
        ["long one", "2"],
      ],
      ["left", "right"],
    ),
  ).toEqual(["name       n", "────────  ──", "a         10", "long one   2"]);
});

test("a name in a table does not start a line, and is cut where it is long", () => {
  const lines = formatTable(
    ["name", "n"],
    [
      ["a\nerror: b", "1"],
      ["x".repeat(1e6), "2"],
    ],
  );
  expect(lines.slice(2)).toEqual([
    `${"a\\x0aerror: b".padEnd("… (1000000 characters)".length + 120)}  1`,
    `${"x".repeat(120)}… (1000000 characters)  2`,
  ]);
});

test("a name in an error does not start a line; intended lists do", () => {
  const error = errorAt("m.onnx: ", new FrostbitError("BAD_MODEL", ["two:", '  Conv "a\nok"']));
  const { lines } = failureOf(error, false);
  expect(printableLines(lines)).toBe('error: m.onnx: two:\n  Conv "a\\x0aok"');
  const forged = failureOf(new FrostbitError("BAD_DATA", "x\n    at nowhere"), true).lines;
  expect(printableLines(forged).split("\n").slice(0, 2)).toEqual([
    "error: x\\x0a    at nowhere",
    "FrostbitError: x\\x0a    at nowhere",
  ]);
});

test("counts are printed with three digits", () => {
  expect([7, 999, 1000, 999_999, 40_551_000, 2.99e9].map(formatCount)).toEqual([
    "7",
    "999",
    "1.00 k",
    "1000 k",
    "40.6 M",
    "2.99 G",
  ]);
});

test("instruction sets are those of the first processor that matter", () => {
  const x86 = "processor\t: 0\nflags\t\t: fpu sse2 avx2 fma avx512_vnni\n\nprocessor\t: 1\nflags\t\t: amx_int8\n";
  expect(parseInstructionSets(x86)).toEqual(["avx2", "fma", "avx512_vnni"]);
  expect(parseInstructionSets("Features\t: fp asimd asimddp i8mm")).toEqual(["asimd", "asimddp", "i8mm"]);
  expect(parseInstructionSets("")).toEqual([]);
});
