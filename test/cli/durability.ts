// A short training run of the command, for tests of what may happen to it.
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cliPath } from "../support/run-cli.ts";
import { tinyCifar10, tinyConvNet } from "../support/tiny-models.ts";

const flags =
  "--preprocess imagenet --batch 32 --calibration-samples 64 --threads 1 --weights 4 --activations 4 --method efqat --mode cwpn --update-ratio 0.2 --steps 40 --checkpoint-every 2 --augment crop,flip --refresh-every 320 --accept-loss";

export const shortRun = ["quantize", "conv.onnx", "--data", "cifar10:cifar", ...flags.split(" ")];

export function writeInputs(folder: string): void {
  mkdirSync(join(folder, "cifar"));
  writeFileSync(join(folder, "cifar/train_1.bin"), tinyCifar10(400, 1));
  writeFileSync(join(folder, "cifar/test_batch.bin"), tinyCifar10(200, 2));
  writeFileSync(join(folder, "conv.onnx"), tinyConvNet({ size: 32 }));
}

export interface Ended {
  readonly signal: NodeJS.Signals | null;
  readonly code: number | null;
  readonly stderr: string;
}

/** Runs the command in `folder`; kills it after `afterMs` where that is given. */
export function runOnce(folder: string, args: readonly string[], afterMs?: number): Promise<Ended> {
  const child = spawn(process.execPath, [cliPath, ...args], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (part) => {
    stderr += String(part);
  });
  const timer = afterMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), afterMs);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stderr });
    });
  });
}

export const modelIn = (folder: string, out: string): Buffer => readFileSync(join(folder, out, "model.onnx"));

/** Killed `times` times at moments drawn from the time of a whole run, each time resumed; then run to its end. */
export async function killAndResume(
  folder: string,
  out: string,
  times: number,
  moment: () => number,
): Promise<{ readonly kills: number; readonly last: Ended }> {
  let kills = 0;
  const args = [...shortRun, "--out", out, "--resume"];
  for (let i = 0; i < times; i++) {
    const { signal, code, stderr } = await runOnce(folder, args, moment());
    if (signal === "SIGKILL") kills++;
    else if (code !== 0) throw new Error(stderr);
  }
  return { kills, last: await runOnce(folder, args) };
}
