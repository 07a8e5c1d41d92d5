// EfQAT (arXiv:2411.11038): train qparams, biases, norms and vectors always, and of the weights only the most important blocks.

import { assert } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { layersByWeight } from "../../quantizers/linear-layers.ts";
import type { FreezingPlan } from "../../training/freezing-plan.ts";
import { tablesOf } from "../../training/parameters.ts";
import type { PlanSource } from "../../training/train-by-plan.ts";
import type { EfqatOptions } from "./options.ts";
import { selectBlocks } from "./select.ts";

/** Algorithm 1: every `refreshEvery` samples, extract the unfrozen blocks; the step graph does the rest. */
export function efqat(graph: Graph, options: EfqatOptions & { readonly seed: number }): PlanSource {
  const layers = layersByWeight(graph);
  const tables = tablesOf(graph).map((name) => [name, "none" as const] as const);
  return {
    refreshEvery: options.refreshEvery,
    select: (weights, draw) => {
      const candidates = layers.map(({ weight, rowAxis }) => {
        const value = weights.get(weight);
        assert(value, `no value for weight "${weight}"`);
        return { name: weight, value, rowAxis };
      });
      return new Map([...selectBlocks(candidates, options, options.seed, draw), ...tables]);
    },
  };
}

/** What the user should know of a plan that trains no weights although the update ratio is not 0; `undefined` where it trains some. */
export function noteOfIdlePlan(plan: FreezingPlan, { updateRatio, mode }: EfqatOptions): string | undefined {
  const isIdle = [...plan.values()].every((rows) => rows === "none" || rows.length === 0);
  if (updateRatio === 0 || !isIdle) return undefined;
  return `updateRatio is ${updateRatio}, which is less than one ${mode === "lwpn" ? "layer" : "channel"}${mode === "cwpl" ? " of any layer" : ""}: no weights train, only qparams, biases and norms. Give a larger one.`;
}
