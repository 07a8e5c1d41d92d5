// Training steps against PyTorch's, in fresh processes, in turn: whole steps and their backward passes. Needs FROSTBIT_DATA for
// ResNet-20 and the peers of bench/peers/install.sh. Writes bench/results/<date>-<machine>-<model>-steps.json; --json prints all
// ratios as one object on the last line.
//
// The peer's forward and backward passes are timed apart. A Frostbit step is one program, so its backward pass is the step's
// median less the median of a program of the same engine and precision that holds the step's forward nodes alone, up to the loss
// and the running statistics. That program keeps nothing for a backward pass and updates no weight, so what keeping and the
// optimizers cost counts as backward: our figures are too high rather than too low, the ratios between ours too low.
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { versions } from "../../src/node/versions.ts";
import { loadNow, writeResults } from "../support/machine.ts";
import type { ModelName } from "../support/model-step.ts";
import { checkPeersAgree } from "./check-peers.ts";
import { type Candidate, measureInTurn, medianOf } from "./in-turn.ts";
import type { Measured } from "./request.ts";
import { type StepFigures, stepFigures, stepTable } from "./step-table.ts";
import { engineChoice, engineTitle, ours, peers, variants, type Work } from "./variants.ts";

const { values } = parseArgs({
  options: {
    models: { type: "string", default: "resnet20,encoder,resnet50" },
    engines: { type: "string", default: "native:float32,native:mixed" },
    only: { type: "string", default: "" },
    steps: { type: "string", default: "8" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string", default: "2" },
    weights: { type: "string", default: "4" },
    activations: { type: "string", default: "8" },
    json: { type: "boolean", default: false },
  },
});
const [steps, rounds, threads, weights, activations] = [
  values.steps,
  values.rounds,
  values.threads,
  values.weights,
  values.activations,
].map(Number);
const batchOf = { resnet20: 128, encoder: 8, resnet50: 32 } as const satisfies Partial<Record<ModelName, number>>;
const isTimed = (name: string): name is keyof typeof batchOf => Object.hasOwn(batchOf, name);
const models = values.models.split(",").map((name) => {
  if (!isTimed(name))
    throw new Error(`--models has "${name}"; expected some of ${Object.keys(batchOf).join(", ")}, with commas.`);
  return name;
});
const engines = values.engines.split(",").map(engineChoice);

/** Milliseconds, and their share of an epoch of 50,000 samples when blocks are chosen every 4,096. */
function selections(measured: ReadonlyMap<string, readonly Measured[]>, batch: number): string[] {
  return engines.flatMap((choice) => {
    const results = measured.get(`${engineTitle(choice)} CWPN 5 %`);
    if (!results) return [];
    const ms = medianOf(results, "selectMs");
    const share = (ms * batch) / 4096 / medianOf(results);
    return [
      `${engineTitle(choice)} ${ms.toFixed(2)} ms, ${(100 * share).toFixed(2)} % of an epoch at every 4,096 samples`,
    ];
  });
}

function benchOf(model: keyof typeof batchOf): StepFigures {
  const work: Work = { model, batch: batchOf[model], threads, steps, weights, activations };
  const candidates: Candidate[] = [
    ...peers(work),
    ...engines.flatMap((choice) =>
      Object.entries(variants).map(([title, variant]) => ours(work, choice, title, variant)),
    ),
  ];
  const loadBefore = loadNow();
  const results = measureInTurn(
    candidates.filter(({ name }) => new RegExp(values.only).test(name)),
    rounds,
  );
  checkPeersAgree(results);
  const figures = stepFigures(results, engines);
  console.log(
    `${model}, batch ${work.batch}, W${weights}A${activations}, ${threads} threads of ${cpus()[0]?.model ?? "an unknown processor"}; medians of ${rounds} × ${steps} steps in turn, ms; load before: ${loadBefore.toFixed(1)}`,
  );
  console.log(stepTable(figures));
  const chosen = selections(results, work.batch);
  if (chosen.length > 0) console.log(`choosing blocks again, CWPN 5 %: ${chosen.join(", ")}`);
  writeResults(`${model}-steps`, loadBefore, { ...work, rounds, raw: Object.fromEntries(results), figures });
  return figures;
}

const figures = Object.fromEntries(models.map((model) => [model, benchOf(model)]));
if (values.json)
  console.log(
    JSON.stringify({ processor: cpus()[0]?.model, versions: versions(), threads, rounds, steps, ...figures }),
  );
