// Adds nodes to a graph behind type inference: operators of runtimes, whose types are told and not inferred.
import type { DType } from "../ir/dtype.ts";
import type { Graph, Node, ValueType } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { newNamesIn } from "../ir/unique-names.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";

export interface Emitter {
  /** A node with one output of this type, and that output's name: a new one that begins with `hint`, or a given one. */
  readonly call: (
    op: string,
    inputs: readonly string[],
    made: { readonly dtype: DType; readonly hint: string } | { readonly output: string },
    attributes?: Node["attributes"],
  ) => string;
  /** Nodes of which outputs have names already, as they are. */
  readonly push: (...nodes: readonly Node[]) => void;
  readonly value: (hint: string, dtype: DType) => string;
  /** A constant; the same hint gives the same one. */
  readonly constant: (hint: string, value: Tensor) => string;
  readonly constants: Map<string, Tensor>;
  /** The graph with what was added, in the order of the calls, in the place of all nodes. */
  readonly graph: () => Graph;
}

/** What sets a constant that a factor is in apart from the same one with another, in its name. */
export const suffixOf = (factor: number): string => (factor === 1 ? "" : `:${factor}`);

export function emitInto(graph: Graph): Emitter {
  const constants = new Map(graph.constants);
  const values = new Map<string, ValueType>(graph.values);
  const { unique, constant } = newNamesIn(graph, constants);
  const nodes: Node[] = [];
  const value = (hint: string, dtype: DType): string => {
    const name = unique(hint);
    values.set(name, { dtype, shape: [] });
    return name;
  };
  return {
    call: (op, inputs, made, attributes = {}) => {
      const output = "output" in made ? made.output : value(made.hint, made.dtype);
      nodes.push({ name: unique(`${output}:${op}`), op, inputs, outputs: [output], attributes });
      return output;
    },
    push: (...given) => void nodes.push(...given),
    value,
    constant,
    constants,
    graph: () => {
      for (const [name, { dtype, shape }] of constants) if (!values.has(name)) values.set(name, { dtype, shape });
      return removeDeadNodes({ ...graph, nodes, constants, values });
    },
  };
}
