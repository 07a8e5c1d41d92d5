// Writes a graph's nodes in the form that an older opset has; what it cannot express is told all at once.
import type { DType } from "../../ir/dtype.ts";
import { assert, FrostbitError } from "../../ir/errors.ts";
import { describeNode, type Graph, type Node } from "../../ir/graph.ts";
import { type Tensor, toNumbers } from "../../ir/tensor.ts";
import { uniqueNamesIn } from "../../ir/unique-names.ts";
import { type DowngradeContext, NeedsOpset } from "./downgrade.ts";
import { downgrades } from "./index.ts";
import { checkOperator, dropNewAttributes, introducedTypes } from "./introduced.ts";

const maxShown = 10;

/** Values keep their names; constants that became attributes are left out. Only types of values that rules ask for are read. */
export function downgradeGraph(graph: Graph, opset: number): Graph {
  const constants = new Map(graph.constants);
  const unique = uniqueNamesIn(graph);
  const problems: { readonly node: Node; readonly needs: NeedsOpset }[] = [];
  const nodes = graph.nodes.flatMap((node) => {
    try {
      return downgradeNode(node, opset, (each) => contextOf(each, opset, graph, constants, unique));
    } catch (error) {
      if (!(error instanceof NeedsOpset)) throw error;
      problems.push({ node, needs: error });
      return [];
    }
  });
  for (const [name, { dtype }] of graph.constants)
    if (opset < (introducedTypes[dtype] ?? 0)) requireType(graph, name, dtype, problems);
  if (problems.length > 0) throw refusal(problems, opset);
  return { ...graph, nodes, constants: usedConstants(graph, nodes, constants) };
}

type Problems = { readonly node: Node; readonly needs: NeedsOpset }[];

function requireType(graph: Graph, name: string, dtype: DType, problems: Problems): void {
  if (problems.length > 0) return;
  const node = graph.nodes.find(({ inputs }) => inputs.includes(name));
  const needs = new NeedsOpset(introducedTypes[dtype] ?? 0, `${dtype} initializers ("${name}") are newer`);
  if (node) problems.push({ node, needs });
}

function refusal(problems: Problems, opset: number): FrostbitError {
  const lowest = Math.max(...problems.map(({ needs }) => needs.opset));
  const lines = problems
    .slice(0, maxShown)
    .map(({ node, needs }) => `${describeNode(node)}: ${needs.message} (opset ${needs.opset})`);
  const rest = problems.length - lines.length;
  if (rest > 0) lines.push(`and ${rest} more`);
  return new FrostbitError(
    "UNSUPPORTED_OP",
    `the model cannot be written in opset ${opset}: ${lines.join("; ")}. Write it in opset ${lowest} or newer.`,
  );
}

function downgradeNode(node: Node, opset: number, makeContext: (node: Node) => DowngradeContext): readonly Node[] {
  checkOperator(node, opset);
  let nodes: readonly Node[] = [dropNewAttributes(node, opset)];
  for (const { before, downgrade } of downgrades[node.op] ?? []) {
    if (opset >= before) continue;
    nodes = nodes.flatMap((each) => (each.op === node.op ? downgrade(makeContext(each)) : [each]));
  }
  return nodes;
}

function contextOf(
  node: Node,
  opset: number,
  graph: Graph,
  constants: Map<string, Tensor>,
  unique: (hint: string) => string,
): DowngradeContext {
  const typeOf: DowngradeContext["type"] = (value) => {
    const added = constants.get(value);
    const type = graph.values.get(value) ?? (added && { dtype: added.dtype, shape: added.shape });
    assert(type, `value "${value}" has no type`);
    return type;
  };
  return {
    node,
    opset,
    type: typeOf,
    constantOf: (value) => constants.get(value),
    numbersOf: (input, opsetIfNot) => {
      const name = node.inputs[input] ?? "";
      if (name === "") return undefined;
      const value = constants.get(name);
      if (!value) throw new NeedsOpset(opsetIfNot, `its input "${name}" is not a constant`);
      return toNumbers(value);
    },
    constant: (hint, value) => {
      const name = unique(`${node.name}/${hint}`);
      constants.set(name, value);
      return name;
    },
    beside: (op, inputs, attributes = {}) => {
      const name = unique(`${node.name}/${op}`);
      return { name, op, inputs, outputs: [name], attributes };
    },
  };
}

/** Of the constants that nodes read before, those that they still read; others stay. */
function usedConstants(
  graph: Graph,
  nodes: readonly Node[],
  constants: ReadonlyMap<string, Tensor>,
): Map<string, Tensor> {
  const readBefore = new Set(graph.nodes.flatMap(({ inputs }) => inputs));
  const readNow = new Set([...graph.outputs, ...nodes.flatMap(({ inputs }) => inputs)]);
  return new Map(
    [...constants].filter(([name]) => readNow.has(name) || (graph.constants.has(name) && !readBefore.has(name))),
  );
}
