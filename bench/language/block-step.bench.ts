// A step of Block-AP of one decoder layer with SmolLM2-135M's sizes against PyTorch's, in fresh processes, in turn. Needs the peers
// of bench/peers/install.sh. Writes bench/results/<date>-<machine>-block-step.json; --json prints the ratios as one object on the
// last line.
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { versions } from "../../src/node/versions.ts";
import { checkPeersAgree } from "../steps/check-peers.ts";
import { loadNow, writeResults } from "../support/machine.ts";
import { figuresOf, measureAgainstPeers } from "./against-peers.ts";
import type { BlockWork } from "./request.ts";

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

const loadBefore = loadNow();
const results = measureAgainstPeers({
  work,
  script: "torch-block-ap-step.py",
  worker: "block-worker.js",
  engines: values.engines,
  only: values.only,
  rounds: Number(values.rounds),
});
checkPeersAgree(results);
console.log(
  `a decoder layer of ${work.hidden} numbers a token, ${work.batch} × ${work.length} tokens, ${work.weights} bits in groups of ${work.group}, ${work.threads} threads of ${cpus()[0]?.model}; medians of ${values.rounds} × ${work.steps} steps in turn; load before: ${loadBefore.toFixed(1)}`,
);
const figures = figuresOf(results);
writeResults("block-step", loadBefore, { ...work, rounds: values.rounds, raw: Object.fromEntries(results), figures });
if (values.json) console.log(JSON.stringify({ processor: cpus()[0]?.model, versions: versions(), ...work, figures }));
