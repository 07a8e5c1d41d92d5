// Runs workers, ours and the peer's, each in a fresh process.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { root } from "../support/machine.ts";
import type { Measured, StepRequest } from "./request.ts";

/** A way to run the step in PyTorch 2: bench/peers/torch-qat-step.py says what each is. */
export interface PeerVariant {
  readonly precision: "float32" | "bfloat16";
  readonly quantizer: "library" | "autograd" | "function";
  readonly compile: "none" | "default" | "max-autotune";
  readonly attention: "products" | "fused";
  readonly allocator: "glibc" | "tcmalloc";
}

export type PeerRequest = PeerVariant &
  Pick<StepRequest, "model" | "batch" | "threads" | "steps" | "weights" | "activations"> & {
    readonly layout: "channels_last" | "nchw";
  };

/** Debian's libtcmalloc-minimal4. */
const tcmalloc = "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4";

/** What bench/peers/install.sh made. */
function peerPython(): string {
  const cache = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  const folder = process.env["FROSTBIT_PEERS"] ?? join(cache, "frostbit", "peers");
  const python = join(folder, "bin", "python");
  if (!existsSync(python))
    throw new Error(`No PyTorch in ${folder}. Run bench/peers/install.sh, or set FROSTBIT_PEERS to its folder.`);
  return python;
}

function measure(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Measured | undefined {
  const { stdout, status, stderr } = spawnSync(command, args, { encoding: "utf8", cwd: root, env });
  if (status === 0) return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Measured;
  const lines = (stderr ?? "").trim().split("\n");
  console.error(`${command} failed: ${lines.find((line) => line.includes("Error")) ?? lines.at(-1)}`);
  return undefined;
}

export const runOurs = (request: StepRequest): Measured | undefined =>
  runWorker(join(import.meta.dirname, "step-worker.js"), request);

/** `worker`: a compiled script that takes its request as JSON and prints a Measured. */
export const runWorker = (worker: string, request: object): Measured | undefined =>
  measure(process.execPath, [worker, JSON.stringify(request)], process.env);

export const runPeer = ({ allocator, ...request }: PeerRequest): Measured | undefined =>
  runPeerScript("torch-qat-step.py", allocator, request);

/** `script`: of bench/peers. */
export function runPeerScript(
  name: string,
  allocator: PeerVariant["allocator"],
  request: object,
): Measured | undefined {
  if (allocator === "tcmalloc" && !existsSync(tcmalloc))
    throw new Error(`${tcmalloc} is missing: install Debian's libtcmalloc-minimal4.`);
  const preload = allocator === "tcmalloc" ? { LD_PRELOAD: tcmalloc } : {};
  const script = join(root, "bench", "peers", name);
  const result = measure(peerPython(), [script, JSON.stringify(request)], { ...process.env, ...preload });
  if (result && result.allocator !== allocator)
    throw new Error(`The peer was to run with ${allocator}, and ran with ${result.allocator ?? "no known allocator"}.`);
  return result;
}
