#!/usr/bin/env node
// The command: parses, runs one subcommand, and turns errors into messages and exit codes.
import { failureOf } from "./errors.ts";
import { printableJson, printableLines } from "./printable.ts";
import { createProgram } from "./program.ts";
import { guardStreams } from "./streams.ts";

guardStreams();
try {
  await createProgram().parseAsync(process.argv);
} catch (error) {
  const { lines, exitCode, json } = failureOf(error, process.argv.includes("--verbose"));
  if (lines.length > 0) process.stderr.write(`${printableLines(lines)}\n`);
  if (json && process.argv.includes("--json")) process.stdout.write(`${printableJson(json)}\n`);
  process.exitCode = exitCode;
}
