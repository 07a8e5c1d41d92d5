// ResNet-20's training step on the onnxruntime and native engines against PyTorch's, in fresh processes, in turn.
// Needs FROSTBIT_DATA; the peer runs where python3-torch is installed. Writes bench/results/<date>-<machine>-steps.json.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { median } from "../../src/evaluate/latency.ts";
import { versions } from "../../src/node/versions.ts";
import { machineName, root } from "../support/machine.ts";

const data = process.env["FROSTBIT_DATA"];
if (!data) throw new Error("Set FROSTBIT_DATA to the folder with resnet_cifar10/resnet20.onnx.");
const model = join(data, "resnet_cifar10", "resnet20.onnx");
const [batch, threads, steps, rounds, weights, activations] = [128, 2, 8, 3, 4, 8];

interface Measured {
  readonly stepMs: readonly number[];
  readonly medianMs: number;
  readonly peakMemoryMb: number;
  readonly blas?: string;
  readonly torch?: string;
}

function measure(command: string, args: readonly (string | number)[]): Measured | undefined {
  const { stdout, status, stderr } = spawnSync(command, args.map(String), { encoding: "utf8", cwd: root });
  if (status === 0) return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Measured;
  console.error(`${command} ${args[0]} failed: ${stderr.trim().split("\n").at(-1)}`);
  return undefined;
}

const worker = join(import.meta.dirname, "step-worker.js");
const ours =
  (mode: string, ratio: number, engine = "onnxruntime") =>
  () =>
    measure(process.execPath, [worker, model, mode, ratio, batch, threads, steps, weights, activations, engine]);
const torch = (layout: string) => () =>
  measure("/usr/bin/python3", [
    join(root, "bench", "peers", "torch-qat-step.py"),
    batch,
    threads,
    steps,
    layout,
    weights,
    activations,
  ]);

const candidates: Readonly<Record<string, () => Measured | undefined>> = {
  "PyTorch QAT, channels last": torch("channels_last"),
  "frostbit QAT": ours("qat", 1),
  "frostbit EfQAT 0 %": ours("cwpn", 0),
  "frostbit EfQAT CWPN 5 %": ours("cwpn", 0.05),
  "frostbit EfQAT CWPN 25 %": ours("cwpn", 0.25),
  "frostbit EfQAT LWPN 25 %": ours("lwpn", 0.25),
  "native QAT": ours("qat", 1, "native"),
  "native EfQAT 0 %": ours("cwpn", 0, "native"),
  "native EfQAT CWPN 5 %": ours("cwpn", 0.05, "native"),
  "native EfQAT CWPN 25 %": ours("cwpn", 0.25, "native"),
  "native EfQAT LWPN 25 %": ours("lwpn", 0.25, "native"),
};

const raw = new Map<string, Measured[]>(Object.keys(candidates).map((name) => [name, []]));
for (let round = 0; round < rounds; round++)
  for (const [name, run] of Object.entries(candidates)) {
    const result = run();
    if (result) raw.get(name)?.push(result);
  }
const peer = raw.get("PyTorch QAT, channels last") ?? [];
const peerMs = median(peer.flatMap(({ stepMs }) => stepMs));
if (peer[0]) console.log(`PyTorch ${peer[0].torch}, BLAS: ${peer[0].blas}`);
console.log(
  `ResNet-20, batch ${batch}, W${weights}A${activations}, ${threads} threads; medians of ${rounds} × ${steps} steps in turn`,
);
for (const [name, results] of raw) {
  if (results.length === 0) continue;
  const ms = median(results.flatMap(({ stepMs }) => stepMs));
  const memory = Math.max(...results.map(({ peakMemoryMb }) => peakMemoryMb));
  console.log(
    `${name.padEnd(28)} ${ms.toFixed(0).padStart(5)} ms   ${peer.length > 0 ? `${(ms / peerMs).toFixed(2)} of PyTorch's` : ""}   peak ${memory.toFixed(0)} MB`,
  );
}
const machine = machineName();
mkdirSync(join(root, "bench", "results"), { recursive: true });
const file = join(root, "bench", "results", `${new Date().toISOString().slice(0, 10)}-${machine}-steps.json`);
writeFileSync(
  file,
  `${JSON.stringify({ batch, threads, steps, rounds, weights, activations, versions: versions(), machine, raw: Object.fromEntries(raw) }, null, 1)}\n`,
);
console.log(`raw figures: ${file.slice(root.length + 1)}`);
