// Blocks: the nodes between one value through which everything flows and the next.
import type { Graph, Node } from "../ir/graph.ts";
import { isQuantizer } from "../quantizers/quantizer.ts";
import type { Stream, UnitOfNode } from "./stream.ts";

/**
 * The nodes between a value through which everything flows and the next one are a region of one entry and one exit: a residual
 * block, an attention, a layer of a chain. Regions with layers are blocks. What follows one and keeps its shape, as an
 * activation, belongs to it; what does not, as pooling, to the next. Where branches go on to the end, as in a U-Net or in front of
 * several heads, the region does too.
 */
export function unitOfNodeByBlock(graph: Graph, stream: Stream): UnitOfNode {
  const units = new Map<Node, number>();
  let unit = -1;
  let shape: string | undefined;
  let waiting: readonly Node[] = [];
  for (const { nodes, exit } of regionsOf(stream)) {
    const exitShape = String(graph.values.get(exit)?.shape);
    const hasLayer = nodes.some((node) => stream.layers.has(node));
    const follows = exitShape === shape && !nodes.some(isQuantizer);
    if (hasLayer) unit++;
    if (!hasLayer && (!follows || waiting.length > 0)) {
      waiting = [...waiting, ...nodes];
      continue;
    }
    for (const node of [...waiting, ...nodes]) units.set(node, unit);
    waiting = [];
    shape = exitShape;
  }
  for (const node of waiting) units.set(node, unit);
  return units;
}

export interface Region {
  readonly nodes: readonly Node[];
  readonly exit: string;
}

/**
 * Everything flows through a value if, once it is computed, no other value computed before it is read later: it is downstream of every
 * node before it and upstream of every node after it. Data that layers work on is there from the start; a branch that ends in an
 * output of the graph belongs to the region in which it ends.
 */
export function regionsOf({ nodes, data }: Stream): readonly Region[] {
  const reads = new Map<string, number>();
  for (const node of nodes) for (const input of node.inputs) reads.set(input, (reads.get(input) ?? 0) + 1);
  const live = new Set([...data].filter((value) => reads.has(value)));
  const regions: Region[] = [];
  let region: Node[] = [];
  for (const node of nodes) {
    region.push(node);
    for (const input of node.inputs) {
      const left = (reads.get(input) ?? 0) - 1;
      reads.set(input, left);
      if (left === 0) live.delete(input);
    }
    for (const output of node.outputs) if (reads.has(output)) live.add(output);
    const [exit] = live.size === 1 ? live : [];
    if (exit === undefined || !node.outputs.includes(exit)) continue;
    regions.push({ nodes: region, exit });
    region = [];
  }
  return region.length > 0 ? [...regions, { nodes: region, exit: region[region.length - 1].outputs[0] }] : regions;
}
