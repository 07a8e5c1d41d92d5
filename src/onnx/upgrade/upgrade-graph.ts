// Brings a graph of an older opset to the newest one's operators.
import { assert, FrostbitError } from "../../ir/errors.ts";
import { describeNode, type Graph, type Node, type ValueType } from "../../ir/graph.ts";
import { type Tensor, tensorOf } from "../../ir/tensor.ts";
import { uniqueNamesIn } from "../../ir/unique-names.ts";
import { outputTypes } from "../../passes/infer-types.ts";
import { checkTypes } from "../check-schema.ts";
import { upgrades } from "./index.ts";
import type { Upgrade, UpgradeContext } from "./upgrade.ts";

/** Takes nodes in topological order; values keep their names. */
export function upgradeGraph(graph: Graph, opset: number): Graph {
  const rulesOf = ({ op }: Node): readonly Upgrade[] => (upgrades[op] ?? []).filter(({ before }) => opset < before);
  if (graph.nodes.every((node) => rulesOf(node).length === 0)) return graph;
  const state = createState(graph, opset);
  for (const node of graph.nodes) {
    const rules = rulesOf(node);
    // Rules compute with what they are given.
    if (rules.length > 0) checkTypes(node, opset, state.contextOf(node).type);
    upgradeNode(node, rules, state);
  }
  return state.current(graph.outputs);
}

/** What a rule made is there before the next rule, which may ask for its types. */
function upgradeNode(node: Node, [rule, ...rest]: readonly Upgrade[], state: State): void {
  if (!rule) {
    state.nodes.push(node);
    return;
  }
  for (const each of rule.upgrade(state.contextOf(node))) upgradeNode(each, each.op === node.op ? rest : [], state);
}

/** Rules ask for the inputs that an operator must have; a node may lack them. */
function requireInput(node: Node, value: string | undefined): string {
  if (value) return value;
  const at = value === undefined ? node.inputs.length : node.inputs.indexOf(value);
  throw new FrostbitError("BAD_MODEL", `${describeNode(node)}: input ${at} is missing; it is required.`);
}

interface State {
  readonly nodes: Node[];
  readonly contextOf: (node: Node) => UpgradeContext;
  readonly current: (outputs: readonly string[]) => Graph;
}

function createState(graph: Graph, opset: number): State {
  const nodes: Node[] = [];
  const constants = new Map<string, Tensor>(graph.constants);
  const values = new Map<string, ValueType>(graph.values);
  const unique = uniqueNamesIn(graph);
  const used = new Set([...graph.outputs, ...graph.nodes.flatMap(({ inputs }) => inputs)]);
  const current = (outputs: readonly string[]): Graph => ({ ...graph, nodes: [...nodes], constants, values, outputs });
  const types = new Map<string, ValueType>(values);
  let typed = 0;
  /** Each node once: a rule may ask after every node. */
  const inferNew = (): void => {
    for (; typed < nodes.length; typed++) {
      const node = nodes[typed];
      const inferred = outputTypes(node, types, constants);
      node.outputs.forEach((output, i) => {
        if (output !== "") types.set(output, inferred[i]);
      });
    }
  };
  const type = (value: string): ValueType => {
    if (!types.has(value)) inferNew();
    const found = types.get(value);
    assert(found, `value "${value}" has no type`);
    return found;
  };
  const constant = (name: string, value: Tensor): string => {
    const unused = unique(name);
    constants.set(unused, value);
    values.set(unused, { dtype: value.dtype, shape: value.shape });
    types.set(unused, { dtype: value.dtype, shape: value.shape });
    return unused;
  };
  const contextOf = (node: Node): UpgradeContext => ({
    node,
    opset,
    type: (value) => type(requireInput(node, value)),
    constantOf: (value) => constants.get(value),
    constant: (hint, value) => constant(`${node.name}/${hint}`, value),
    ints: (hint, list) => constant(`${node.name}/${hint}`, tensorOf("int64", [list.length], list)),
    beside: (op, inputs, attributes = {}) => {
      const name = unique(`${node.name}/${op}`);
      return { name, op, inputs, outputs: [name], attributes };
    },
    isUsed: (value) => used.has(value),
  });
  return { nodes, contextOf, current };
}
