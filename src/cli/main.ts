#!/usr/bin/env node
// The command: parses, runs one subcommand, and turns errors into messages and exit codes.
import { exitCodes, failureOf } from "./errors.ts";
import { printable } from "./printable.ts";
import { createProgram } from "./program.ts";

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") return;
  const reason = error.code === "ENOSPC" ? "the disk is full. Free some space, or send it elsewhere." : error.message;
  process.stderr.write(`error: Cannot write to standard output: ${reason}\n`);
  process.exitCode = exitCodes.user;
});

try {
  await createProgram().parseAsync(process.argv);
} catch (error) {
  const { message, exitCode, json } = failureOf(error, process.argv.includes("--verbose"));
  if (message !== "") process.stderr.write(`${printable(message)}\n`);
  if (json && process.argv.includes("--json")) process.stdout.write(`${JSON.stringify(json)}\n`);
  process.exitCode = exitCode;
}
