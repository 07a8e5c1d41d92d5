// Mixed precision as a step of a run: each layer's weight gets the bits that it needs, within a budget.
import { calibrationBatches, calibrationCount } from "../../calibration/calibration-data.ts";
import { evaluationBatch, oneSample } from "../../evaluate/batch-that-fits.ts";
import { FrostbitError } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { floatOutputs } from "../../passes/class-scores.ts";
import { totalMultiplyAdds } from "../../passes/count-operations.ts";
import { removeDeadNodes } from "../../passes/remove-dead-nodes.ts";
import type { QuantizeOptions } from "../../quantizers/quantize-options.ts";
import type { Context } from "../../run/context.ts";
import type { Method, MethodData, MethodJob, MethodResult } from "../method.ts";
import {
  type Budget,
  bitBudget,
  checkBudget,
  type FileBytes,
  fileBytesOf,
  isReachable,
  meanBits,
  notTogether,
  operationBudget,
  sizeBudget,
  withWidths,
} from "./budget.ts";
import { type Choices, choicesOf } from "./choices.ts";
import { chooseWidths, type Plan } from "./choose-widths.ts";
import { findingsOf } from "./findings.ts";
import { checkLatency, latencyBudget, measureLatencies } from "./latency.ts";
import { bytesOf, type MixedPrecisionOptions, mixedPrecisionOptions, operationsOf } from "./options.ts";
import type { Inputs } from "./replace-weights.ts";
import type { SensitivityName } from "./sensitivities.ts";

export const mixedPrecisionMethod: Method<MixedPrecisionOptions> = {
  name: "mixed-precision",
  summary: "chooses each layer's bits within a budget",
  options: mixedPrecisionOptions,
  phase: "before-calibration",
  grids: [],
  calledBy: ["maxBits", "maxSize", "maxLatency", "maxBops"],
  training: "none",
  resumes: () => false,
  heldBytes: () => 0,
  unused: [],
  conflicts: ({ maxBits, maxSize, maxLatency, maxBops, widths }) => {
    const least = Math.min(...widths);
    if ([maxBits, maxSize, maxLatency, maxBops].every((value) => value === undefined))
      return [
        {
          option: "maxBits",
          message: "is missing; mixed precision needs a budget, maxBits, maxSize, maxLatency or maxBops",
        },
      ];
    return maxBits !== undefined && maxBits < least
      ? [{ option: "maxBits", message: `is ${maxBits}; the narrowest of widths is ${least}` }]
      : [];
  },
  check: () => {},
  run: mix,
};

async function mix(
  { model, data, options, fileBytes: write, timeFiles, loadSolver }: MethodJob<MixedPrecisionOptions>,
  context: Context,
): Promise<MethodResult> {
  const { graph, quantize } = model;
  const choices = choicesOf(graph, quantize, options.widths);
  if (choices.free.length === 0) {
    context.onNote?.("Mixed precision chose nothing: the bits of every layer are given.");
    return { model };
  }
  checkReached(graph, choices);
  const given = [options.maxBits, options.maxSize, options.maxLatency, options.maxBops].filter(
    (value) => value !== undefined,
  );
  const solver = given.length > 1 ? await loadSolver() : undefined;
  const fileBytes = fileBytesOf(graph, quantize, choices, write);
  const { maxBits, maxSize } = options;
  const maxBytes = maxSize === undefined ? undefined : bytesOf(maxSize, () => write(model.original));
  const samples = await takeBatches(graph, data, options, context);
  const { maxLatency, widths } = options;
  const latencies =
    maxLatency === undefined
      ? undefined
      : await measureLatencies(
          { graph, quantize, choices, widths, inputs: (await samples.singles())[0], timeFiles },
          context,
        );
  const budgets = [
    ...budgetsOf({ graph, quantize, choices }, options, { maxBytes, fileBytes }),
    ...(latencies ? [latencyBudget(choices, latencies, maxLatency ?? 0, widths)] : []),
  ];
  const unreachable = budgets.find((budget) => !isReachable(budget, choices.free));
  if (unreachable) throw unreachable.outOfReach();
  const job = {
    graph,
    weights: choices.free.map(({ weight }) => weight),
    choices: choices.free,
    fixed: choices.fixed,
    ...samples,
    budgets,
    solver,
    measures: measuresFor(graph, choices, options),
  };
  const chosen = await chooseWidths(job, context);
  if (chosen === undefined) throw notTogether(budgets);
  const [best] = chosen.plans;
  context.onNote?.(noteOf(choices, budgets, best));
  return {
    model: { ...model, quantize: withWidths(quantize, choices.free, best.widths) },
    findings: { widths: findingsOf(choices, budgets[0], chosen) },
    checkFile: (file) => checkBudget({ maxBits, maxBytes }, file),
    ...(latencies && {
      checkLatency: (measured: { readonly float: number; readonly deployed: number }) =>
        checkLatency(maxLatency ?? 0, latencies, measured),
    }),
  };
}

/** What a width costs is measured on floats. */
function checkReached(graph: Graph, { free, fixed }: Choices): void {
  const { constants } = removeDeadNodes({ ...graph, outputs: floatOutputs(graph) });
  const apart = [...free, ...fixed].filter(({ weight }) => !constants.has(weight));
  if (apart.length === 0) return;
  const names = apart.slice(0, 5).map(({ weight }) => `"${weight}"`);
  throw new FrostbitError(
    "BAD_MODEL",
    `mixed-precision measures outputs of floats, and none follows from ${names.join(", ")}${apart.length > 5 ? ` and ${apart.length - 5} more` : ""}. Let the model give the scores that its outputs of whole numbers are made from too, or give all layers one width.`,
  );
}

interface Weighed {
  readonly graph: Graph;
  readonly quantize: QuantizeOptions;
  readonly choices: Choices;
}

/** Those that nothing is timed for. */
const budgetsOf = (
  { graph, quantize, choices }: Weighed,
  { maxBits, maxBops, widths }: MixedPrecisionOptions,
  { maxBytes, fileBytes }: { readonly maxBytes: number | undefined; readonly fileBytes: FileBytes },
): readonly Budget[] => [
  ...(maxBits === undefined ? [] : [bitBudget(choices, maxBits)]),
  ...(maxBytes === undefined ? [] : [sizeBudget(choices, widths, maxBytes, fileBytes)]),
  ...(maxBops === undefined ? [] : [operationBudget(graph, quantize, choices, operationsOf(maxBops))]),
];

/** Multiply-adds that are spent on measuring every layer at every width: a minute or two. */
const affordable = 6e12;

/** Gradients where all is quantized see what single layers do not, which counts at few bits. */
export function measuresFor(
  graph: Graph,
  { free }: Pick<Choices, "free">,
  { sensitivity, sensitivitySamples, maxBits, widths }: MixedPrecisionOptions,
): readonly SensitivityName[] {
  if (sensitivity !== "auto") return [sensitivity];
  // What is before a layer is computed once.
  const work = (free.length * widths.length * sensitivitySamples * totalMultiplyAdds(oneSample(graph))) / 2;
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
function noteOf(choices: Choices, budgets: readonly Budget[], { widths, costs, by }: Plan): string {
  const layers = choices.free.flatMap(({ layers: names }, i) => names.map((name) => `${name}=${widths[i]}`));
  const chosen = by === "uniform" ? "no plan was better than the same bits for all" : `chosen by ${by}`;
  const spent = budgets.map(
    ({ option, unit, amountOf, available }, b) =>
      `${option} ${amountOf(costs[b]).toPrecision(4)} of ${amountOf(available).toPrecision(4)} ${unit}`,
  );
  const several = budgets.length > 1 ? ` (${spent.join(", ")})` : "";
  return `Mixed precision, ${meanBits(choices, widths).toFixed(2)} bits a weight${several}, ${chosen}: ${layers.join(",")}.`;
}
