// Questions to a graph that patterns of attention are found by.
import type { Graph, Node } from "../../../ir/graph.ts";
import { sizeOf, toNumbers } from "../../../ir/tensor.ts";
import { numbersAttribute } from "../../../ops/attributes.ts";
import { isStatic } from "../../../ops/dims.ts";
import { type Uses, usesOf } from "../lowering.ts";
import { fixed } from "../plan.ts";

export interface Surroundings extends Uses {
  readonly graph: Graph;
  /** Values that somebody wants as they are: outputs and updates. */
  readonly kept: ReadonlySet<string>;
}

export const surroundingsOf = (graph: Graph): Surroundings => ({
  ...usesOf(graph),
  graph,
  kept: new Set([...graph.outputs, ...graph.updates.values()]),
});

/** A value's sizes; none where they are not all numbers. */
export function shapeOf({ graph }: Surroundings, value: string): readonly number[] {
  const { shape } = graph.values.get(value) ?? { shape: [] };
  return isStatic(shape) ? fixed(shape) : [];
}

export const isSame = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a.length === b.length && a.every((each, i) => each === b[i]);

export const readersOf = ({ readers }: Surroundings, value: string): readonly Node[] => readers.get(value) ?? [];

/** What alone reads a node's only output. */
export function soleReader(around: Surroundings, node: Node | undefined): Node | undefined {
  const [output] = node?.outputs ?? [""];
  const found = readersOf(around, output);
  return found.length === 1 && !around.kept.has(output) ? found[0] : undefined;
}

/** The node that makes a value which only one node reads. */
export function soleSource(around: Surroundings, value: string): Node | undefined {
  const node = around.producers.get(value);
  return soleReader(around, node) ? node : undefined;
}

/** The list with its last two entries exchanged. */
export const swapped = <T>(list: readonly T[]): readonly T[] => [...list.slice(0, -2), ...list.slice(-2).toReversed()];

/** Whether it transposes matrices and leaves their batch alone. */
export function transposesMatrices(node: Node): boolean {
  const perm = numbersAttribute(node, "perm", []);
  return node.op === "Transpose" && perm.length >= 2 && isSame(perm, swapped(perm.map((_, axis) => axis)));
}

/** Whether a value's matrices are the transposes of another's. */
export function isTransposed({ producers }: Surroundings, value: string, of: string): boolean {
  const node = producers.get(value);
  return node !== undefined && transposesMatrices(node) && node.inputs[0] === of;
}

/** What a node multiplies by a constant number, or divides by it, and the factor. */
export function scaling({ graph }: Surroundings, { op, inputs }: Node): { of: string; factor: number } | undefined {
  const numberAt = (i: number): number | undefined => {
    const constant = graph.constants.get(inputs[i] ?? "");
    return constant && sizeOf(constant.shape) === 1 ? toNumbers(constant)[0] : undefined;
  };
  const [left, right] = [numberAt(0), numberAt(1)];
  if (op === "Mul" && right !== undefined) return { of: inputs[0], factor: right };
  if (op === "Mul" && left !== undefined) return { of: inputs[1], factor: left };
  if (op === "Div" && right !== undefined) return { of: inputs[0], factor: 1 / right };
  return undefined;
}
