// Runs workers, ours and the peer's, each in a fresh process.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { root } from "../support/machine.ts";
import type { Measured, StepRequest } from "./request.ts";

export type PeerRequest = Pick<StepRequest, "model" | "batch" | "threads" | "steps" | "weights" | "activations"> & {
  readonly layout: "channels_last" | "nchw";
  readonly precision: "float32" | "bfloat16";
};

/** The reference BLAS is 45 times slower: Debian's OpenBLAS goes before whatever the system has chosen. */
const openBlas = "/usr/lib/x86_64-linux-gnu/openblas-pthread";

function measure(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Measured | undefined {
  const { stdout, status, stderr } = spawnSync(command, args, { encoding: "utf8", cwd: root, env });
  if (status === 0) return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Measured;
  const lines = (stderr ?? "").trim().split("\n");
  console.error(`${command} failed: ${lines.find((line) => line.includes("Error")) ?? lines.at(-1)}`);
  return undefined;
}

export const runOurs = (request: StepRequest): Measured | undefined =>
  measure(process.execPath, [join(import.meta.dirname, "step-worker.js"), JSON.stringify(request)], process.env);

export function runPeer(request: PeerRequest): Measured | undefined {
  const script = join(root, "bench", "peers", "torch-qat-step.py");
  const path = existsSync(openBlas) ? { LD_LIBRARY_PATH: openBlas } : {};
  const result = measure("/usr/bin/python3", [script, JSON.stringify(request)], { ...process.env, ...path });
  if (result && !result.blas?.includes("openblas"))
    throw new Error(`The peer runs on ${result.blas || "no known BLAS"}; install libopenblas0-pthread.`);
  return result;
}
