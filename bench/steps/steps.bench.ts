// Training steps against PyTorch's, in fresh processes, in turn: whole steps and their backward passes. Needs FROSTBIT_DATA for
// ResNet-20. Writes bench/results/<date>-<machine>-<model>-steps.json.
//
// The peer's forward and backward passes are timed apart. A Frostbit step is one program, so its backward pass is the step's
// median less the median of a program of the same engine and precision that holds the step's forward nodes alone, up to the loss
// and the running statistics. That program keeps nothing for a backward pass and updates no weight, so what keeping and the
// optimizers cost counts as backward: our figures are too high rather than too low, the ratios between ours too low.
import { parseArgs } from "node:util";
import { loadNow, writeResults } from "../support/machine.ts";
import type { ModelName } from "../support/model-step.ts";
import { type Candidate, measureInTurn, medianOf } from "./in-turn.ts";
import type { Measured } from "./request.ts";
import { stepTable } from "./step-table.ts";
import { engineChoice, engineTitle, ours, peer, peers, variants, type Work } from "./variants.ts";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "resnet20" },
    engines: { type: "string", default: "native:float32,native:mixed" },
    only: { type: "string", default: "" },
    steps: { type: "string", default: "8" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string", default: "2" },
    weights: { type: "string", default: "4" },
    activations: { type: "string", default: "8" },
  },
});
const { model, only } = values;
if (model !== "resnet20" && model !== "encoder")
  throw new Error(`--model is "${model}"; expected resnet20 or encoder.`);
const [steps, rounds, threads, weights, activations] = [
  values.steps,
  values.rounds,
  values.threads,
  values.weights,
  values.activations,
].map(Number);
const batchOf: Readonly<Record<ModelName, number>> = { resnet20: 128, encoder: 8, depthwise: 128 };
const work: Work = { model, batch: batchOf[model], threads, steps, weights, activations };
const engines = values.engines.split(",").map(engineChoice);
const candidates: Candidate[] = [
  peer(work, "float32"),
  peer(work, "bfloat16"),
  ...engines.flatMap((choice) =>
    Object.entries(variants).map(([title, variant]) => ours(work, choice, title, variant)),
  ),
];
/** Milliseconds, and their share of an epoch of 50,000 samples when blocks are chosen every 4,096. */
function selections(measured: ReadonlyMap<string, readonly Measured[]>): string[] {
  return engines.flatMap((choice) => {
    const results = measured.get(`${engineTitle(choice)} CWPN 5 %`);
    if (!results) return [];
    const ms = medianOf(results, "selectMs");
    const share = (ms * work.batch) / 4096 / medianOf(results);
    return [
      `${engineTitle(choice)} ${ms.toFixed(2)} ms, ${(100 * share).toFixed(2)} % of an epoch at every 4,096 samples`,
    ];
  });
}

const loadBefore = loadNow();
const results = measureInTurn(
  candidates.filter(({ name }) => new RegExp(only).test(name)),
  rounds,
);
const torch = results.get(peers.float32)?.[0];
if (torch)
  console.log(
    `PyTorch ${torch.torch}, BLAS: ${torch.blas}; forward ${medianOf(results.get(peers.float32), "forwardMs").toFixed(1)} ms`,
  );
console.log(
  `${model}, batch ${work.batch}, W${weights}A${activations}, ${threads} threads; medians of ${rounds} × ${steps} steps in turn, ms; load before: ${loadBefore.toFixed(1)}`,
);
console.log(stepTable(results, engines));
console.log(`choosing blocks again, CWPN 5 %: ${selections(results).join(", ")}`);
writeResults(`${model}-steps`, loadBefore, { ...work, rounds, raw: Object.fromEntries(results) });
