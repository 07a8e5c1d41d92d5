// Runs the built command in a separate process.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

export const cliPath = join(import.meta.dirname, "../../dist/cli/main.js");

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The last line on standard output, parsed. */
  readonly json: () => unknown;
}

export interface CliOptions {
  /** Sent once, when the command first writes to standard error. */
  readonly signal?: NodeJS.Signals;
  /** Of another build. */
  readonly path?: string;
}

export function runCli(
  args: readonly string[],
  cwd: string,
  { signal, path = cliPath }: CliOptions = {},
): Promise<CliResult> {
  if (!existsSync(path)) throw new Error(`${path} is missing: run npm run build first.`);
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [path, ...args], { cwd });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (part) => {
      stdout += String(part);
    });
    child.stderr.once("data", () => {
      if (signal) child.kill(signal);
    });
    child.stderr.on("data", (part) => {
      stderr += String(part);
    });
    child.on("error", reject);
    child.on("close", (code) => {
      resolve({ code, stdout, stderr, json: () => JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") });
    });
  });
}
