// The plan by which everything trains, in every step.
import type { Graph } from "../ir/graph.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import type { ParameterRole } from "../training/parameters.ts";
import type { PlanSource } from "../training/train-by-plan.ts";

export function trainEverything(graph: Graph): PlanSource {
  const plan = new Map(linearLayers(graph).map(({ weight }) => [weight, "all" as const]));
  return { refreshEvery: Number.POSITIVE_INFINITY, select: () => plan };
}

const roles: Readonly<Record<ParameterRole, true>> = {
  weight: true,
  "weight-scale": true,
  "weight-zero-point": true,
  "input-scale": true,
  "input-zero-point": true,
  bias: true,
  norm: true,
  vector: true,
  table: true,
};

export const everyRole = Object.keys(roles) as readonly ParameterRole[];
