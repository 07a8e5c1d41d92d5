// Runs a QAT step on the native engine and gives each kernel's time. One argument: StepRequest as JSON. Prints
// a Profile as JSON.

import { loadAddon, type NativeAddon, type NativeProgram, type NativeStep } from "../../src/engines/native/addon.ts";
import { selectEngine } from "../../src/engines/select.ts";
import { median } from "../../src/evaluate/latency.ts";
import { compileOptions, type StepRequest } from "../steps/request.ts";
import { benchModel, stepOf } from "../support/model-step.ts";

interface KernelTime {
  readonly kernel: string;
  readonly implementation: string;
  readonly steps: number;
  /** Summed over the steps: medians over the runs, and minima. */
  readonly ms: number;
  readonly minMs: number;
}

export interface Profile {
  readonly kernels: readonly KernelTime[];
  readonly totalMs: number;
}

/** Remembers the addon's latest program, which is the training step's once that was compiled. */
function watchPrograms(): () => { program: NativeProgram; steps: readonly NativeStep[] } {
  const addon = loadAddon() as { -readonly [Key in keyof NativeAddon]: NativeAddon[Key] };
  let latest: { program: NativeProgram; steps: readonly NativeStep[] } | undefined;
  const { Program } = addon;
  addon.Program = class extends Program {
    constructor(...values: ConstructorParameters<typeof Program>) {
      super(...values);
      latest = { program: this, steps: values[2] };
    }
  };
  return () => {
    if (!latest) throw new Error("The native engine made no program.");
    return latest;
  };
}

function profileOf(
  steps: readonly NativeStep[],
  implementations: readonly string[],
  runs: readonly number[][],
): Profile {
  const sums = new Map<string, KernelTime>();
  steps.forEach(({ kernel }, i) => {
    const implementation = implementations[i];
    const key = `${kernel}\n${implementation}`;
    const known = sums.get(key) ?? { kernel, implementation, steps: 0, ms: 0, minMs: 0 };
    const times = runs.map((run) => run[i]);
    sums.set(key, {
      ...known,
      steps: known.steps + 1,
      ms: known.ms + median(times),
      minMs: known.minMs + Math.min(...times),
    });
  });
  const kernels = [...sums.values()].sort((a, b) => b.ms - a.ms);
  return { kernels, totalMs: kernels.reduce((sum, { ms }) => sum + ms, 0) };
}

const request = JSON.parse(process.argv[2]) as StepRequest;
const latest = watchPrograms();
const step = await stepOf(benchModel(request.model), selectEngine("native"), request, {
  ...request,
  compile: compileOptions(request),
});
const runs: number[][] = [];
const warmUp = 3;
for (let i = 0; i < request.steps + warmUp; i++) {
  await step.run();
  if (i >= warmUp) runs.push([...latest().program.times()]);
}
const { program, steps } = latest();
console.log(JSON.stringify(profileOf(steps, program.describe(), runs)));
await step.dispose();
