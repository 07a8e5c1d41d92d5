// Block-AP of whole decoder layers with SmolLM2-135M's sizes against PyTorch's, in fresh processes, in turn: all that training a
// layer takes besides its steps counts too. Needs the peers of bench/peers/install.sh. Writes
// bench/results/<date>-<machine>-blocks.json; --json prints the ratios as one object on the last line.
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { versions } from "../../src/node/versions.ts";
import { loadNow, writeResults } from "../support/machine.ts";
import { figuresOf, measureAgainstPeers } from "./against-peers.ts";
import type { BlocksWork } from "./request.ts";

const { values } = parseArgs({
  options: {
    engines: { type: "string", default: "native:mixed" },
    only: { type: "string", default: "" },
    layers: { type: "string", default: "4" },
    rounds: { type: "string", default: "2" },
    threads: { type: "string", default: "2" },
    json: { type: "boolean", default: false },
  },
});
const work: BlocksWork = {
  hidden: 576,
  heads: 9,
  keyValueHeads: 3,
  intermediate: 1536,
  weights: 2,
  group: 64,
  layers: Number(values.layers),
  windows: 64,
  held: 8,
  length: 512,
  batch: 2,
  epochs: 2,
  threads: Number(values.threads),
};
const loadBefore = loadNow();
const results = measureAgainstPeers({
  work,
  script: "torch-block-ap.py",
  worker: "blocks-worker.js",
  engines: values.engines,
  only: values.only,
  rounds: Number(values.rounds),
});
console.log(
  `a decoder layer of ${work.hidden} numbers a token, ${work.windows} windows of ${work.length} tokens and ${work.held} held out, ${work.epochs} epochs of batch ${work.batch}, ${work.weights} bits in groups of ${work.group}, ${work.threads} threads of ${cpus()[0]?.model}; medians of ${values.rounds} rounds in turn; load before: ${loadBefore.toFixed(1)}`,
);
const figures = figuresOf(results);
writeResults("blocks", loadBefore, { ...work, rounds: values.rounds, raw: Object.fromEntries(results), figures });
if (values.json) console.log(JSON.stringify({ processor: cpus()[0]?.model, versions: versions(), ...work, figures }));
