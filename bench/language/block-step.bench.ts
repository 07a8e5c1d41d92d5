// A step of Block-AP of one decoder layer with SmolLM2-135M's sizes against PyTorch's, in fresh processes, in turn. Needs the peers
// of bench/peers/install.sh. Writes bench/results/<date>-<machine>-block-step.json; --json prints the ratios as one object on the
// last line.
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Precision } from "../../src/engines/engine.ts";
import { versions } from "../../src/node/versions.ts";
import { checkPeersAgree } from "../steps/check-peers.ts";
import { type Candidate, measureInTurn, medianOf, memoryOf } from "../steps/in-turn.ts";
import { engineChoice, engineTitle, isPeer, peerPrefix } from "../steps/variants.ts";
import { type PeerVariant, runPeerScript, runWorker } from "../steps/workers.ts";
import { loadNow, writeResults } from "../support/machine.ts";
import type { BlockRequest, BlockWork } from "./request.ts";

const { values } = parseArgs({
  options: {
    engines: { type: "string", default: "native:float32,native:mixed" },
    only: { type: "string", default: "" },
    batch: { type: "string", default: "2" },
    length: { type: "string", default: "2048" },
    steps: { type: "string", default: "6" },
    rounds: { type: "string", default: "2" },
    threads: { type: "string", default: "2" },
    json: { type: "boolean", default: false },
  },
});
const work: BlockWork = {
  hidden: 576,
  heads: 9,
  keyValueHeads: 3,
  intermediate: 1536,
  weights: 2,
  group: 64,
  batch: Number(values.batch),
  length: Number(values.length),
  steps: Number(values.steps),
  threads: Number(values.threads),
};

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
const peers = Object.entries(peerVariants).map(
  ([title, { allocator, ...variant }]): Candidate => ({
    name: `${peerPrefix}${title}`,
    run: () => runPeerScript("torch-block-ap-step.py", allocator, { ...work, ...variant }),
  }),
);
const ours = values.engines
  .split(",")
  .map(engineChoice)
  .map((choice): Candidate => {
    const precision: Precision = choice.precision ?? "float32";
    const request: BlockRequest = { ...work, engine: choice.engine, precision };
    return {
      name: engineTitle(choice),
      run: () => runWorker(join(import.meta.dirname, "block-worker.js"), request),
    };
  });

const loadBefore = loadNow();
const results = measureInTurn(
  [...peers, ...ours].filter(({ name }) => new RegExp(values.only).test(name)),
  Number(values.rounds),
);
checkPeersAgree(results);
const rows = [...results].map(([name, measured]) => ({ name, step: medianOf(measured), memory: memoryOf(measured) }));
const peerRows = rows.filter(({ name }) => isPeer(name));
const fastest = Math.min(...peerRows.map(({ step }) => step));
const ofFastest = peerRows.find(({ step }) => step === fastest);
const figures = rows.map((row) => ({
  ...row,
  ofFastestPeer: row.step / fastest,
  memoryOfIt: row.memory / (ofFastest?.memory ?? Number.NaN),
}));
console.log(
  `a decoder layer of ${work.hidden} numbers a token, ${work.batch} × ${work.length} tokens, ${work.weights} bits in groups of ${work.group}, ${work.threads} threads of ${cpus()[0]?.model}; medians of ${values.rounds} × ${work.steps} steps in turn; load before: ${loadBefore.toFixed(1)}`,
);
console.log(`${"".padEnd(50)}      ms  of the fastest peer      MB  of its MB`);
for (const { name, step, memory, ofFastestPeer, memoryOfIt } of figures)
  console.log(
    `${name.padEnd(50)}${step.toFixed(1).padStart(8)}${ofFastestPeer.toFixed(2).padStart(21)}${memory.toFixed(0).padStart(8)}${memoryOfIt.toFixed(2).padStart(11)}`,
  );
writeResults("block-step", loadBefore, { ...work, rounds: values.rounds, raw: Object.fromEntries(results), figures });
if (values.json) console.log(JSON.stringify({ processor: cpus()[0]?.model, versions: versions(), ...work, figures }));
