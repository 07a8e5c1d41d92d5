// Numbered parts of a network: a decoder's layers, each with its attention and its feed-forward network.
import type { Graph, Node } from "../ir/graph.ts";
import { regionsOf } from "./blocks.ts";
import type { Stream, UnitOfNode } from "./stream.ts";

/** "model.layers.3" of "model.layers.3.mlp.up_proj". */
const partOf = (layer: string): string | undefined => /^.*?[./]\d+(?=[./])/.exec(layer)?.[0];

/**
 * Regions with layers of the same part are one unit; a region whose layer's name has no number is one by itself. What lies in front of
 * one belongs to it. What comes behind the last belongs to none: it has nothing to learn.
 */
export function unitOfNodeByPart(_: Graph, stream: Stream): UnitOfNode {
  const units = new Map<Node, number>();
  let unit = -1;
  let part: string | undefined;
  let waiting: readonly Node[] = [];
  for (const { nodes } of regionsOf(stream)) {
    const [layer] = nodes.flatMap((node) => stream.layers.get(node) ?? []);
    waiting = [...waiting, ...nodes];
    if (layer === undefined) continue;
    const next = partOf(layer);
    if (next === undefined || next !== part) unit++;
    part = next;
    for (const node of waiting) units.set(node, unit);
    waiting = [];
  }
  return units;
}
