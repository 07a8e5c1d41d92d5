// Gradient checkpointing: what gradients read of a segment of the forward pass is computed again before they do, from what entered it.
import { type Graph, type Node, producers, type ValueType } from "../ir/graph.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";

/** Of a step: which of its nodes are the forward pass, and what of that is computed twice. By names of nodes. */
export interface Checkpointing {
  /** The loss's nodes among them; all others are of gradients and updates. */
  readonly forward: ReadonlySet<string>;
  /** In the order of the forward pass; a node in several belongs to the first. */
  readonly segments: readonly ReadonlySet<string>[];
}

/**
 * The step with the nodes of every segment a second time, right before the first gradient that reads a value of it. Between the two,
 * nothing of a segment is held but what the rest of the forward pass reads. The gradients are the same.
 */
export function recomputeSegments(step: Graph, checkpointing: Checkpointing): Graph {
  const unique = uniqueNamesIn(step);
  const values = new Map(step.values);
  const { segments, segmentOf, isKept } = findSegments(step, checkpointing);
  const againOf = new Map<string, string>();
  const again = (node: Node): Node => ({
    ...readingAgain(node),
    name: unique(`${node.name}/again`),
    outputs: node.outputs.map((output) => {
      if (output === "") return "";
      const name = unique(`${output}/again`);
      values.set(name, values.get(output) as ValueType);
      if (!isKept(output)) againOf.set(output, name);
      return name;
    }),
  });
  const readingAgain = (node: Node): Node => ({
    ...node,
    inputs: node.inputs.map((input) => againOf.get(input) ?? input),
  });
  const isMade = new Set<number>();
  const nodes = step.nodes.flatMap((node): readonly Node[] => {
    if (checkpointing.forward.has(node.name)) return [node];
    const read = node.inputs.filter((input) => !isKept(input)).flatMap((input) => segmentOf(input) ?? []);
    const needed = [...new Set(read)].filter((segment) => !isMade.has(segment));
    for (const segment of needed) isMade.add(segment);
    return [...needed.flatMap((segment) => segments[segment].map(again)), readingAgain(node)];
  });
  return { ...step, nodes, values };
}

interface Segments {
  /** By segment, its nodes that give what gradients read, from what is kept or comes from outside. */
  readonly segments: readonly (readonly Node[])[];
  readonly segmentOf: (value: string) => number | undefined;
  /** Of values of segments: whether other parts of the forward pass read them. */
  readonly isKept: (value: string) => boolean;
}

function findSegments(step: Graph, { forward, segments }: Checkpointing): Segments {
  const owner = new Map<string, number>();
  for (const [index, names] of segments.entries())
    for (const name of names) if (!owner.has(name)) owner.set(name, index);
  const madeBy = producers(step);
  const segmentOf = (value: string): number | undefined => owner.get(madeBy.get(value)?.name ?? "");
  const kept = new Set(step.outputs);
  const read = new Set<string>();
  for (const { name, inputs } of step.nodes)
    for (const input of inputs) {
      const isOwn = owner.get(name) === segmentOf(input);
      if (!forward.has(name)) read.add(input);
      else if (!isOwn) kept.add(input);
    }
  const isKept = (value: string): boolean => kept.has(value);
  const nodesOf = (index: number): readonly Node[] => {
    const wanted = new Set(read);
    const own = step.nodes.filter(({ name }) => owner.get(name) === index);
    const needed = own.toReversed().filter(({ inputs, outputs }) => {
      const isNeeded = outputs.some((output) => wanted.has(output) && !isKept(output));
      if (isNeeded) for (const input of inputs) wanted.add(input);
      return isNeeded;
    });
    return needed.toReversed();
  };
  return { segments: segments.map((_, index) => nodesOf(index)), segmentOf, isKept };
}
