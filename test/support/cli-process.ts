// The built command as a process that is watched, and killed.
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { cliPath } from "./run-cli.ts";

export interface CliProcess {
  readonly child: ChildProcess;
  readonly output: () => string;
  /** Its exit code; null: killed. */
  readonly ended: Promise<number | null>;
}

export function startCli(args: readonly string[], cwd: string): CliProcess {
  const child = spawn(process.execPath, [cliPath, ...args], { cwd, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (part) => (output += String(part)));
  return { child, output: () => output, ended: new Promise((resolve) => child.on("close", resolve)) };
}

/** Of a process that lives, those that it started. */
export function childrenOf({ child: { pid } }: CliProcess): readonly number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    return text === "" ? [] : text.split(" ").map(Number);
  } catch {
    return [];
  }
}

export function killNow(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}
