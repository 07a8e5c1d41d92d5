// Quantization-aware training: everything trains. Without quantizers in the graph the same is float training.
import type { Graph } from "../../ir/graph.ts";
import { linearLayers } from "../../quantizers/linear-layers.ts";
import type { PlanSource } from "../../training/loop.ts";

export function qat(graph: Graph): PlanSource {
  const plan = new Map(linearLayers(graph).map(({ weight }) => [weight, "all" as const]));
  return { refreshEvery: Number.POSITIVE_INFINITY, select: () => plan };
}
