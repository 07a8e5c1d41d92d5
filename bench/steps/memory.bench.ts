// Peak memory of a process that runs ResNet-20's QAT step, less what the process had before it loaded the model: ours and
// PyTorch's, in turn. Needs FROSTBIT_DATA. Writes bench/results/<date>-<machine>-memory.json.
import { parseArgs } from "node:util";
import { loadNow, writeResults } from "../support/machine.ts";
import { measureInTurn, memoryOf } from "./in-turn.ts";
import { engineChoice, isPeer, ours, peers, variants, type Work } from "./variants.ts";

const { values } = parseArgs({
  options: {
    engines: { type: "string", default: "native:float32,native:mixed" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string", default: "2" },
  },
});
const work: Work = {
  model: "resnet20",
  batch: 128,
  threads: Number(values.threads),
  steps: 5,
  weights: 4,
  activations: 8,
};
const titles = ["QAT", "EfQAT 0 %", "CWPN 5 %"];
const candidates = [
  ...peers(work),
  ...values.engines
    .split(",")
    .map(engineChoice)
    .flatMap((choice) => titles.map((title) => ours(work, choice, title, variants[title]))),
];
const loadBefore = loadNow();
const results = measureInTurn(candidates, Number(values.rounds));
const peerMb = Math.min(...[...results].filter(([name]) => isPeer(name)).map(([, measured]) => memoryOf(measured)));
console.log(`resnet20, batch ${work.batch}, W4A8, ${work.threads} threads; the most of ${values.rounds} rounds, MB`);
console.log(`${"".padEnd(48)}    step  before  of PyTorch's least`);
for (const [name, all] of results) {
  const before = Math.max(...all.map(({ memoryBeforeModelMb }) => memoryBeforeModelMb));
  const columns = [memoryOf(all).toFixed(0).padStart(8), before.toFixed(0).padStart(8)];
  console.log(`${name.padEnd(48)}${columns.join("")}  ${(memoryOf(all) / peerMb).toFixed(2)}`);
}
writeResults("memory", loadBefore, { ...work, rounds: values.rounds, raw: Object.fromEntries(results) });
