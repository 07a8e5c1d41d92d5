// Mixed precision as a step of a run: each layer's weight gets the bits that it needs, within a budget.
import { calibrationBatches, calibrationCount } from "../../calibration/calibration-data.ts";
import { evaluationBatch } from "../../evaluate/batch-that-fits.ts";
import type { Graph } from "../../ir/graph.ts";
import { totalMultiplyAdds } from "../../passes/count-operations.ts";
import type { Context } from "../../run/context.ts";
import type { Method, MethodData, MethodJob, MethodResult } from "../method.ts";
import {
  type Budget,
  beyondBudget,
  bitBudget,
  checkBudget,
  type FileBytes,
  fileBytesOf,
  meanBits,
  sizeBudget,
  withWidths,
} from "./budget.ts";
import { type Choices, choicesOf } from "./choices.ts";
import { chooseWidths, type Plan } from "./choose-widths.ts";
import { findingsOf } from "./findings.ts";
import { checkLatency, latencyBudget, measureLatencies, tooSlow } from "./latency.ts";
import { bytesOf, type MixedPrecisionOptions, mixedPrecisionOptions } from "./options.ts";
import type { Inputs } from "./replace-weights.ts";
import type { SensitivityName } from "./sensitivities.ts";

export const mixedPrecisionMethod: Method<MixedPrecisionOptions> = {
  name: "mixed-precision",
  summary: "chooses each layer's bits within a budget",
  options: mixedPrecisionOptions,
  phase: "before-calibration",
  grids: [],
  calledBy: ["maxBits", "maxSize", "maxLatency"],
  training: "none",
  resumes: () => false,
  heldBytes: () => 0,
  unused: [],
  conflicts: ({ maxBits, maxSize, maxLatency, widths }) => {
    const least = Math.min(...widths);
    const given = Object.entries({ maxBits, maxSize, maxLatency }).filter(([, value]) => value !== undefined);
    const [first, second] = given.map(([name]) => name);
    if (second !== undefined)
      return [{ option: second, message: `and ${first} are both given; mixed precision takes one budget` }];
    if (first === undefined)
      return [
        { option: "maxBits", message: "is missing; mixed precision needs a budget, maxBits, maxSize or maxLatency" },
      ];
    return maxBits !== undefined && maxBits < least
      ? [{ option: "maxBits", message: `is ${maxBits}; the narrowest of widths is ${least}` }]
      : [];
  },
  check: () => {},
  run: mix,
};

async function mix(
  { model, data, options, fileBytes: write, timeFiles }: MethodJob<MixedPrecisionOptions>,
  context: Context,
): Promise<MethodResult> {
  const { graph, quantize } = model;
  const choices = choicesOf(graph, quantize, options.widths);
  if (choices.free.length === 0) {
    context.onNote?.("Mixed precision chose nothing: the bits of every layer are given.");
    return { model };
  }
  const fileBytes = fileBytesOf(graph, quantize, choices, write);
  const samples = await takeBatches(graph, data, options, context);
  const { maxLatency, widths } = options;
  const latencies =
    maxLatency === undefined
      ? undefined
      : await measureLatencies(
          { graph, quantize, choices, widths, inputs: (await samples.singles())[0], timeFiles },
          context,
        );
  const budget = latencies ? latencyBudget(choices, latencies, maxLatency ?? 0) : budgetOf(choices, options, fileBytes);
  const job = {
    graph,
    weights: choices.free.map(({ weight }) => weight),
    choices: choices.free,
    fixed: choices.fixed,
    ...samples,
    budget,
    measures: measuresFor(graph, choices, options),
  };
  const chosen = await chooseWidths(job, context);
  if (chosen === undefined)
    throw latencies
      ? tooSlow(maxLatency ?? 0, latencies, budget, choices.free, widths)
      : beyondBudget(choices, options, fileBytes);
  const [best] = chosen.plans;
  context.onNote?.(noteOf(choices, best));
  return {
    model: { ...model, quantize: withWidths(quantize, choices.free, best.widths) },
    findings: { widths: findingsOf(choices, budget, chosen) },
    checkFile: (file) => checkBudget(options, file),
    ...(latencies && {
      checkLatency: (measured: { readonly float: number; readonly deployed: number }) =>
        checkLatency(maxLatency ?? 0, latencies, measured),
    }),
  };
}

function budgetOf(choices: Choices, { maxBits, maxSize, widths }: MixedPrecisionOptions, fileBytes: FileBytes): Budget {
  return maxSize === undefined
    ? bitBudget(choices, maxBits ?? 8)
    : sizeBudget(choices, widths, bytesOf(maxSize), fileBytes);
}

/** Multiply-adds that are spent on measuring every layer at every width: half a minute or so. */
const affordable = 3e12;

/** Gradients where all is quantized see what single layers do not, which counts at few bits. */
function measuresFor(
  graph: Graph,
  { free }: Choices,
  { sensitivity, sensitivitySamples, maxBits, widths }: MixedPrecisionOptions,
): readonly SensitivityName[] {
  if (sensitivity !== "auto") return [sensitivity];
  const work = free.length * widths.length * sensitivitySamples * totalMultiplyAdds(graph);
  const first: SensitivityName = work <= affordable ? "divergence" : "fisher";
  return maxBits !== undefined && maxBits < 3 ? [first, "taylor"] : [first];
}

interface Batches {
  readonly batches: readonly Inputs[];
  readonly singles: () => Promise<readonly Inputs[]>;
}

async function takeBatches(
  graph: Graph,
  data: MethodData,
  { sensitivitySamples: calibrationSamples }: MixedPrecisionOptions,
  context: Context,
): Promise<Batches> {
  const counted = { calibrationSamples };
  const batchSize = Math.min(evaluationBatch, calibrationCount(data, counted));
  const take = async (size: number): Promise<readonly Inputs[]> => {
    const taken: Inputs[] = [];
    for await (const inputs of calibrationBatches(graph, data, { ...counted, batchSize: size }, context)())
      taken.push(inputs);
    return taken;
  };
  return { batches: await take(batchSize), singles: () => take(1) };
}

/** Which layers have which bits, and what they come to. */
function noteOf(choices: Choices, { widths, by }: Plan): string {
  const layers = choices.free.flatMap(({ layers: names }, i) => names.map((name) => `${name}=${widths[i]}`));
  const chosen = by === "uniform" ? "no plan was better than the same bits for all" : `chosen by ${by}`;
  return `Mixed precision, ${meanBits(choices, widths).toFixed(2)} bits a weight, ${chosen}: ${layers.join(",")}.`;
}
