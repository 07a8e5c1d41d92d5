// Work on decoder layers by PyTorch in each of its variants, and by our engines, in turn.
import { join } from "node:path";
import { type Candidate, measureInTurn, medianOf, memoryOf } from "../steps/in-turn.ts";
import type { Measured } from "../steps/request.ts";
import { engineChoice, engineTitle, isPeer, peerPrefix } from "../steps/variants.ts";
import { type PeerVariant, runPeerScript, runWorker } from "../steps/workers.ts";

type BlockPeer = Omit<PeerVariant, "attention" | "quantizer"> & { readonly quantizer: "autograd" | "function" };
const compiled = {
  precision: "bfloat16",
  quantizer: "function",
  compile: "default",
  allocator: "tcmalloc",
} as const satisfies BlockPeer;
const eager = { ...compiled, quantizer: "autograd", compile: "none", allocator: "glibc" } as const;
const peerVariants: Readonly<Record<string, BlockPeer>> = {
  "eager float32": { ...eager, precision: "float32" },
  "eager bfloat16": eager,
  "compiled float32": { ...compiled, precision: "float32" },
  "compiled bfloat16": compiled,
  "compiled bfloat16, gradients by autograd": { ...compiled, quantizer: "autograd" },
  "max-autotune bfloat16": { ...compiled, compile: "max-autotune" },
};

interface Contest {
  readonly work: object;
  /** Of bench/peers. */
  readonly script: string;
  /** Of this folder, compiled. */
  readonly worker: string;
  /** As the command takes them. */
  readonly engines: string;
  /** A regular expression: names that do not match are left out. */
  readonly only: string;
  readonly rounds: number;
}

export function measureAgainstPeers(contest: Contest): ReadonlyMap<string, readonly Measured[]> {
  const { work, script, worker, engines, only, rounds } = contest;
  const peers = Object.entries(peerVariants).map(
    ([title, { allocator, ...variant }]): Candidate => ({
      name: `${peerPrefix}${title}`,
      run: () => runPeerScript(script, allocator, { ...work, ...variant }),
    }),
  );
  const ours = engines
    .split(",")
    .map(engineChoice)
    .map(
      ({ precision = "float32", ...choice }): Candidate => ({
        name: engineTitle({ ...choice, precision }),
        run: () => runWorker(join(import.meta.dirname, worker), { ...work, ...choice, precision }),
      }),
    );
  return measureInTurn(
    [...peers, ...ours].filter(({ name }) => new RegExp(only).test(name)),
    rounds,
  );
}

/** Medians, MB, and both over those of the fastest peer; printed, too. */
export function figuresOf(results: ReadonlyMap<string, readonly Measured[]>) {
  const rows = [...results].map(([name, measured]) => ({ name, ms: medianOf(measured), memory: memoryOf(measured) }));
  const peers = rows.filter(({ name }) => isPeer(name));
  const fastest = peers.find(({ ms }) => ms === Math.min(...peers.map((peer) => peer.ms)));
  const figures = rows.map((row) => ({
    ...row,
    ofFastestPeer: row.ms / (fastest?.ms ?? Number.NaN),
    memoryOfIt: row.memory / (fastest?.memory ?? Number.NaN),
  }));
  console.log(`${"".padEnd(50)}      ms  of the fastest peer      MB  of its MB`);
  for (const { name, ms, memory, ofFastestPeer, memoryOfIt } of figures)
    console.log(
      `${name.padEnd(50)}${ms.toFixed(1).padStart(8)}${ofFastestPeer.toFixed(2).padStart(21)}${memory.toFixed(0).padStart(8)}${memoryOfIt.toFixed(2).padStart(11)}`,
    );
  return figures;
}
