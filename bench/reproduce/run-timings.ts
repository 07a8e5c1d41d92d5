// Table 5's counterpart: backward passes of every mode and ratio, timed in turn as bench/steps/steps.bench.ts does.

import { versions } from "../../src/node/versions.ts";
import { type Candidate, measureInTurn, medianOf } from "../steps/in-turn.ts";
import { type EngineChoice, engineTitle, ours, type Work } from "../steps/variants.ts";
import { loadNow, machineName } from "../support/machine.ts";
import type { Variant } from "../support/model-step.ts";
import { modes } from "./paper.ts";
import type { TimingRecord } from "./records.ts";

export const timedRatios = [5, 10, 25] as const;
const epochSamples = 50_000;

const timed: Readonly<Record<string, Variant>> = {
  forward: { mode: "forward", updateRatio: 1 },
  qat: { mode: "qat", updateRatio: 1 },
  "efqat-0": { mode: "cwpn", updateRatio: 0 },
  ...Object.fromEntries(
    timedRatios.flatMap((ratio) =>
      modes.map((mode): [string, Variant] => [`${mode}-${ratio}`, { mode, updateRatio: ratio / 100 }]),
    ),
  ),
};

export function runTimings(choice: EngineChoice, threads: number, rounds: number, steps: number): TimingRecord {
  const work: Work = { model: "resnet20", batch: 128, threads, steps, weights: 4, activations: 8 };
  const loadBefore = loadNow();
  const candidates: Candidate[] = Object.entries(timed).map(([name, variant]) => ({
    ...ours(work, choice, name, variant),
    name,
  }));
  const results = measureInTurn(candidates, rounds);
  const forwardMs = medianOf(results.get("forward"));
  const names = Object.keys(timed).filter((name) => name !== "forward");
  const missing = names.filter((name) => !results.has(name));
  if (missing.length > 0 || !results.has("forward")) throw new Error(`Could not be timed: ${missing.join(", ")}`);
  return {
    setting: engineTitle(choice),
    machine: machineName(),
    versions: versions(),
    finishedAt: new Date().toISOString(),
    loadBefore,
    stepsPerEpoch: Math.floor(epochSamples / work.batch),
    forwardMs,
    backwardMs: Object.fromEntries(names.map((name) => [name, medianOf(results.get(name)) - forwardMs])),
    selectMs: medianOf(results.get("cwpn-5"), "selectMs"),
  };
}
