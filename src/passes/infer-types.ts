// Recomputes the type of every value from the inputs, constants and variables.
import { FrostbitError } from "../ir/errors.ts";
import { describeNode, type Graph, type Node, type ValueType } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { inferNode } from "../ops/infer.ts";

function startingTypes(graph: Graph): Map<string, ValueType> {
  const types = new Map<string, ValueType>();
  for (const name of [...graph.inputs, ...graph.variables]) {
    const type = graph.values.get(name);
    if (!type)
      throw new FrostbitError("BAD_MODEL", `Input or variable "${name}" of graph "${graph.name}" has no type.`);
    types.set(name, type);
  }
  for (const [name, { dtype, shape }] of graph.constants) types.set(name, { dtype, shape });
  return types;
}

const maxElements = 2 ** 31;

/** Sizes come from numbers in the file, which may be anything. */
function checkSizes(node: Node, output: string, { shape }: ValueType): void {
  const sizes = shape.filter((size) => typeof size === "number");
  const isSound = sizes.every((size) => Number.isSafeInteger(size) && size >= 0);
  // No axis is long, not even beside an empty one: rules and kernels may walk along it.
  if (isSound && sizes.reduce((product, size) => product * Math.max(1, size), 1) <= maxElements) return;
  throw new FrostbitError(
    "SHAPE_MISMATCH",
    `${describeNode(node)}: its output "${output}" would have the shape [${shape.join(", ")}]; expected sizes from 0, and 2^31 elements at most.`,
  );
}

/** Types of a node's outputs, in order; throws where they cannot be inferred, or are of absurd sizes. */
export function outputTypes(
  node: Node,
  types: Pick<ReadonlyMap<string, ValueType>, "get">,
  constants: Pick<ReadonlyMap<string, Tensor>, "get">,
): readonly ValueType[] {
  const inferred = inferNode(
    node,
    (value) => types.get(value),
    (value) => constants.get(value),
  );
  node.outputs.forEach((output, i) => {
    if (output === "") return;
    if (!inferred[i])
      throw new FrostbitError(
        "BAD_MODEL",
        `${describeNode(node)} has ${node.outputs.length} outputs; expected ${inferred.length} at most.`,
      );
    checkSizes(node, output, inferred[i]);
  });
  return inferred;
}

/** Throws one error that names all nodes whose types cannot be inferred. */
export function inferTypes(graph: Graph): Graph {
  const types = startingTypes(graph);
  const failures: FrostbitError[] = [];
  const failed = new Set<string>();
  const inferOne = (node: Node): void => {
    const unknown = node.inputs.find((input) => input !== "" && !types.has(input));
    if (unknown !== undefined)
      throw new FrostbitError(
        "BAD_MODEL",
        `${describeNode(node)}: it reads "${unknown}", which nothing before it makes.`,
      );
    const inferred = outputTypes(node, types, graph.constants);
    node.outputs.forEach((output, i) => {
      if (output !== "") types.set(output, inferred[i]);
    });
  };
  for (const node of graph.nodes) {
    const isConsequence = failed.size > 0 && node.inputs.some((input) => failed.has(input));
    try {
      if (!isConsequence) {
        inferOne(node);
        continue;
      }
    } catch (error) {
      if (!(error instanceof FrostbitError)) throw error;
      failures.push(error);
    }
    for (const output of node.outputs) if (output !== "") failed.add(output);
  }
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1)
    throw new FrostbitError(failures[0].code, [
      `${failures.length} nodes of graph "${graph.name}" have no types:`,
      ...failures.map(({ message }) => `- ${message}`),
    ]);
  return { ...graph, values: types };
}
