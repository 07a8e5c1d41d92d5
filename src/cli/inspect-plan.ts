// frostbit inspect --plan: what the native engine would do in a training step.
import { z } from "zod";
import { precisions } from "../engines/engine.ts";
import { describePlan, type PlanDescription, type PlannedStep } from "../engines/native/describe-plan.ts";
import { createNativeEngine } from "../engines/native/native-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { methodNames } from "../methods/index.ts";
import { flagOf } from "../options/flag-of.ts";
import { quantizationOptions } from "../options/run-options.ts";
import { plannedForward, plannedStep } from "../quantize/planned-graph.ts";
import { formatBytes } from "../report/format-bytes.ts";
import { trainingOptions } from "../training/options.ts";
import type { Values } from "./command.ts";
import { runFromFlags, stepFlags } from "./method-flags.ts";
import { parseSchemaOptions } from "./options-from-schema.ts";
import { threadsOption, tuneOption } from "./shared-options.ts";
import { formatCount, formatTable } from "./table.ts";

/** Options of training that decide what a step consists of. */
const stepShape = { optimizer: true, qparamTraining: true, batch: true, accumulate: true, loss: true } as const;
const elsewhere = Object.keys(trainingOptions.omit(stepShape).shape);

/** Those of `quantize` that decide what a step consists of: all of a method's own, since its choice of what trains may heed any. */
const stepOptions = z.object({
  ...quantizationOptions.pick({
    weights: true,
    groupSize: true,
    asymmetricWeights: true,
    activations: true,
    symmetricActivations: true,
    placement: true,
    layers: true,
    outputs: true,
  }).shape,
  ...Object.fromEntries(Object.entries(stepFlags.shape).filter(([name]) => !elsewhere.includes(name))),
});

export const planOptions = z.object({
  plan: z.boolean().default(false).describe("Show the native engine's plan of a training step instead."),
  forward: z.boolean().default(false).describe("With --plan: of the forward pass alone."),
  precision: z
    .enum(precisions)
    .optional()
    .describe("With --plan: by default mixed where the processor has it, of a forward pass float32."),
  ...threadsOption.shape,
  tune: tuneOption.shape.tune.describe(
    "With --plan: how kernels are chosen, as `quantize`; what is measured is remembered.",
  ),
  method: z.enum(methodNames).default("qat").describe("With --plan: whose step, as `quantize`."),
  ...stepOptions.shape,
});

export interface PlanResult extends PlanDescription {
  readonly method: string;
  readonly part: "step" | "forward";
  readonly totals: {
    readonly steps: number;
    readonly bytesRead: number;
    readonly bytesWritten: number;
    readonly operations: number;
  };
}

export async function planOf(model: Graph, values: Values, onNote: (note: string) => void): Promise<PlanResult> {
  const { forward, method, precision, threads, tune } = parseSchemaOptions(planOptions, values);
  const { run } = runFromFlags({ ...values, method });
  const step = forward ? undefined : plannedStep(model, run);
  const part = step ? "step" : "forward";
  const fastest = createNativeEngine().precisions.at(-1);
  const { batch } = parseSchemaOptions(trainingOptions.pick({ batch: true }), values);
  const description = await describePlan(step ?? plannedForward(model, run, batch), {
    // What is measured is float32, whatever trains it.
    precision: precision ?? (part === "step" ? fastest : undefined) ?? "float32",
    ...(threads === undefined ? {} : { threads }),
    kernels: { tuning: tune, chosen: new Map(), onNote },
    // Behind the loss: what a micro-batch gives to be added up.
    gradients: step?.outputs.slice(1) ?? [],
  });
  const total = (key: "bytesRead" | "bytesWritten" | "operations"): number =>
    description.steps.reduce((sum, step) => sum + step[key], 0);
  const totals = {
    steps: description.steps.length,
    bytesRead: total("bytesRead"),
    bytesWritten: total("bytesWritten"),
    operations: total("operations"),
  };
  return { method, part, ...description, totals };
}

export function formatPlan(path: string, plan: PlanResult): readonly string[] {
  const { precision, threads, part, method, totals, steps, integerProducts, floatProducts } = plan;
  const what = part === "step" ? `a training step of ${method}` : "a forward pass";
  const slow = steps.filter(({ isSlow }) => isSlow).length;
  const rows = steps.flatMap(stepRows);
  const header = ["", "step", "implemented by", "of", "read", "written", "operations"];
  return [
    `${path}: ${what} on the native engine, ${precision}, ${threads} threads`,
    "",
    ...formatTable(header, rows, ["right", "left", "left", "left", "right", "right", "right"]),
    "",
    `${totals.steps} steps, ${formatCount(totals.operations)} operations, ${formatBytes(totals.bytesRead)} read, ${formatBytes(totals.bytesWritten)} written`,
    `intermediate values ${formatBytes(plan.arenaBytes)}, constants ${formatBytes(plan.constantBytes)}, variables ${formatBytes(plan.variableBytes)}`,
    ...(slow === 0 ? [] : [`${slow} steps have no fast kernel; they are marked with "slow".`]),
    `${integerProducts.length} of ${integerProducts.length + floatProducts.length} forward products in integers`,
    ...floatProducts.map(({ op, node, reason }) => `  ${op} "${node}" in floats: ${reason}`),
  ];
}

function stepRows(step: PlannedStep, i: number): readonly (readonly string[])[] {
  const { kernel, node = "", parts, candidates, implementation, isSlow, bytesRead, bytesWritten, operations } = step;
  const first = [
    ...[String(i), kernel, isSlow ? `${implementation} (slow)` : implementation, node],
    ...[formatBytes(bytesRead), formatBytes(bytesWritten), formatCount(operations)],
  ];
  return [
    first,
    ...parts.map((part) => ["", `  ${part.kernel}`, "", part.node ?? "", "", "", ""]),
    ...candidates.map((each) => ["", `  measured: ${each.kernel}`, `${each.ms.toFixed(3)} ms`, "", "", "", ""]),
  ];
}

/** What was typed of the options that only --plan has. */
export const givenPlanOptions = (values: Values): readonly string[] =>
  Object.keys(planOptions.shape)
    .filter((name) => name !== "plan" && values[name] !== undefined)
    .map(flagOf);
