// Fixes symbolic sizes, so that a graph can be planned; counts of rows stay open where every reader can live with that.
import { FrostbitError } from "../../ir/errors.ts";
import type { Dim, Graph, Node } from "../../ir/graph.ts";
import { opDefinition } from "../../ops/index.ts";
import { resolveAxis } from "../../ops/operands.ts";
import { foldConstants } from "../../passes/fold-constants.ts";
import { inferTypes } from "../../passes/infer-types.ts";
import { readSingleNumbers } from "../../passes/read-single-numbers.ts";
import { removeDeadNodes } from "../../passes/remove-dead-nodes.ts";

/** The size of the axis that `rows` indexes in a node; `undefined` where it is read otherwise. */
function indexedSize(graph: Graph, node: Node, rows: string): number | undefined {
  const schema = opDefinition(node.op)?.inputs ?? [];
  const [read, ...others] = node.inputs.flatMap((input, i) => (input === rows ? [schema[i]?.indexes] : []));
  if (!read || others.length > 0) return undefined;
  const shape = graph.values.get(node.inputs[read.input])?.shape ?? [];
  const size = shape[resolveAxis(node, read.axis(node), shape.length)];
  return typeof size === "number" ? size : undefined;
}

/** The sizes that may stay open, with the most that each may be. `allows`: whether the engine runs a node with these sizes open. */
export function openCounts(
  graph: Graph,
  allows: (node: Node, open: ReadonlySet<string>) => boolean,
): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const name of graph.inputs) {
    const type = graph.values.get(name);
    const [size] = type?.shape ?? [];
    if (type?.dtype !== "int64" || type.shape.length !== 1 || typeof size !== "string") continue;
    const readers = graph.nodes.filter(({ inputs }) => inputs.includes(name));
    const sizes = readers.map((node) => indexedSize(graph, node, name));
    const users = graph.nodes.filter((node) => reads(graph, node, size));
    const open = new Set([size]);
    const isOpen = users.every((node) => allows(node, open));
    if (sizes.length > 0 && isOpen && sizes.every((each) => each !== undefined)) counts.set(size, Math.min(...sizes));
  }
  return counts;
}

const reads = (graph: Graph, node: Node, size: string): boolean =>
  [...node.inputs, ...node.outputs].some((value) => graph.values.get(value)?.shape.includes(size));

/** The symbolic sizes of the inputs that a plan needs as numbers. */
export function sizesToFix(graph: Graph, counts: ReadonlyMap<string, number>): readonly string[] {
  const sizes = graph.inputs.flatMap((name) => graph.values.get(name)?.shape ?? []);
  return [...new Set(sizes)].filter((size) => typeof size === "string" && !counts.has(size)) as string[];
}

/** How sizes are fixed. */
export interface FixedSizes {
  readonly sizes: ReadonlyMap<string, number>;
  /** Those that stay open. */
  readonly counts: ReadonlyMap<string, number>;
  /** The engine's name, for messages. */
  readonly engine: string;
}

/** The graph with these sizes in place of the symbols; everything that then is constant is folded. */
export function fixSizes(graph: Graph, { sizes, counts, engine }: FixedSizes): Graph {
  const values = new Map(graph.values);
  const fix = (dim: Dim): Dim => (typeof dim === "string" ? (sizes.get(dim) ?? dim) : dim);
  for (const name of graph.inputs) {
    const type = graph.values.get(name);
    if (type) values.set(name, { ...type, shape: type.shape.map(fix) });
  }
  const result = removeDeadNodes(foldConstants(readSingleNumbers(inferTypes({ ...graph, values }))));
  for (const [name, { shape }] of result.values) {
    const open = shape.find((size) => typeof size === "string" && !counts.has(size));
    if (open === undefined) continue;
    throw new FrostbitError(
      "UNSUPPORTED_OP",
      `The ${engine} engine cannot run graph "${graph.name}": the size "${open}" of value "${name}" is known only while it runs. Use engine: "onnxruntime".`,
    );
  }
  return result;
}
