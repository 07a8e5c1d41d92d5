// Gives each running statistic its own constant.
import type { Graph } from "../ir/graph.ts";
import { uniqueNames } from "../ir/unique-names.ts";

/** What a batch normalization reads that follows the batches, by input. */
const statistics: ReadonlyMap<number, string> = new Map([
  [3, "mean"],
  [4, "variance"],
]);

/**
 * Exporters that merge equal constants let a normalization's factors and its variances be one, or a mean and a bias. Training
 * goes separate ways with them: a constant that is read as a statistic and as anything else becomes several.
 */
export function separateStatistics(graph: Graph): Graph {
  const roleOf = (op: string, input: number): string =>
    (op === "BatchNormalization" ? statistics.get(input) : undefined) ?? "parameter";
  const roles = new Map<string, Set<string>>();
  for (const { op, inputs } of graph.nodes)
    inputs.forEach((name, i) => {
      if (graph.constants.has(name)) roles.set(name, (roles.get(name) ?? new Set()).add(roleOf(op, i)));
    });
  if (![...roles.values()].some(({ size }) => size > 1)) return graph;
  const unique = uniqueNames(graph.values.keys());
  const constants = new Map(graph.constants);
  const values = new Map(graph.values);
  const copies = new Map<string, string>();
  const copyOf = (name: string, role: string): string => {
    const [kept] = [...(roles.get(name) ?? [])].sort((a) => (a === "parameter" ? -1 : 1));
    const value = graph.constants.get(name);
    if (!value || role === kept) return name;
    const copy = copies.get(`${role} ${name}`) ?? unique(`${name}/${role}`);
    copies.set(`${role} ${name}`, copy);
    constants.set(copy, value);
    values.set(copy, { dtype: value.dtype, shape: value.shape });
    return copy;
  };
  const nodes = graph.nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map((name, i) => copyOf(name, roleOf(node.op, i))),
  }));
  return { ...graph, nodes, constants, values };
}
