// Adds nodes to a graph; each new value gets its type at once. The inference function is injected: ir knows no operator.

import type { DType } from "./dtype.ts";
import { assert } from "./errors.ts";
import type { Attribute, Graph, Node, ValueType } from "./graph.ts";
import { scalar, type Tensor } from "./tensor.ts";

/** Gives the types of a node's outputs; `ops/infer.ts` implements it. */
export type InferNode = (
  node: Node,
  type: (value: string) => ValueType | undefined,
  constant: (value: string) => Tensor | undefined,
) => readonly ValueType[];

/**
 * Adds nodes to a graph; each new value gets its type at once, from the shape rules of its operator. Values are named by strings.
 * What does not fit throws SHAPE_MISMATCH, BAD_MODEL or UNSUPPORTED_OP, naming the node.
 */
export interface Builder {
  /** Adds a node with one output and returns that output's name. `name` is a hint; names are made unique. */
  readonly node: (
    op: string,
    inputs: readonly (string | undefined)[],
    attributes?: Readonly<Record<string, Attribute>>,
    name?: string,
  ) => string;
  /** Adds a node with several outputs; an output not wanted is `false` and comes back as `""`. */
  readonly nodes: (
    op: string,
    inputs: readonly (string | undefined)[],
    wanted: readonly boolean[],
    attributes?: Readonly<Record<string, Attribute>>,
    name?: string,
  ) => readonly string[];
  /** A constant of any type, not shared with other nodes. */
  readonly constant: (value: Tensor, name?: string) => string;
  /** A float constant of the dtype of `like`, by default float32. */
  readonly scalar: (value: number, like?: string) => string;
  /** An int64 constant of shape [values]. */
  readonly ints: (values: readonly number[]) => string;
  /** What type a value has. */
  readonly type: (value: string) => ValueType;
  /** What a constant holds; `undefined` for values that are computed. */
  readonly constantOf: (value: string) => Tensor | undefined;
  /** A new input of the graph; its name. */
  readonly input: (name: string, type: ValueType) => string;
  /** A named tensor that lives in the engine between runs; its name. */
  readonly variable: (name: string, type: ValueType) => string;
  /** After a run, `variable` takes `value`. */
  readonly update: (variable: string, value: string) => void;
  /** A name not yet taken that starts with `hint`. */
  readonly unique: (hint: string) => string;
  /** The graph as it is now, with these outputs. */
  readonly graph: (outputs: readonly string[], name?: string) => Graph;
}

export function createBuilder(infer: InferNode, start?: Graph): Builder {
  const values = new Map(start?.values);
  const constants = new Map(start?.constants);
  const nodes: Node[] = [...(start?.nodes ?? [])];
  const inputs: string[] = [...(start?.inputs ?? [])];
  const variables: string[] = [...(start?.variables ?? [])];
  const updates = new Map(start?.updates);
  const nodeNames = new Set(nodes.map((node) => node.name));
  const shared = new Map<string, string>();
  const counters = new Map<string, number>();

  const fresh = (hint: string, taken: (name: string) => boolean): string => {
    if (!taken(hint)) return hint;
    let count = counters.get(hint) ?? 1;
    while (taken(`${hint}_${count}`)) count++;
    counters.set(hint, count + 1);
    return `${hint}_${count}`;
  };
  const unique = (hint: string): string => fresh(hint, (name) => values.has(name));
  const type = (value: string): ValueType => {
    const found = values.get(value);
    assert(found, `value "${value}" has no type`);
    return found;
  };
  const addNodes: Builder["nodes"] = (op, nodeInputs, wanted, attributes = {}, name) => {
    const nodeName = fresh(name ?? op, (candidate) => nodeNames.has(candidate));
    nodeNames.add(nodeName);
    const outputs = wanted.map((isWanted, i) => (isWanted ? unique(i === 0 ? nodeName : `${nodeName}:${i}`) : ""));
    const names = nodeInputs.map((input) => input ?? "");
    while (names.length > 0 && names[names.length - 1] === "") names.pop();
    const node: Node = { name: nodeName, op, inputs: names, outputs, attributes };
    const types = infer(
      node,
      (value) => values.get(value),
      (value) => constants.get(value),
    );
    outputs.forEach((output, i) => {
      if (output !== "") values.set(output, types[i]);
    });
    nodes.push(node);
    return outputs;
  };
  const constant: Builder["constant"] = (value, name = "constant") => {
    const valueName = unique(name);
    constants.set(valueName, value);
    values.set(valueName, { dtype: value.dtype, shape: value.shape });
    return valueName;
  };
  /** Equal small constants are made once. */
  const sharedConstant = (key: string, make: () => Tensor): string => {
    const found = shared.get(key);
    if (found !== undefined) return found;
    const name = constant(make(), key);
    shared.set(key, name);
    return name;
  };
  return {
    node: (op, nodeInputs, attributes, name) => addNodes(op, nodeInputs, [true], attributes, name)[0],
    nodes: addNodes,
    constant,
    scalar: (value, like) => {
      const dtype: DType = like === undefined ? "float32" : type(like).dtype;
      return sharedConstant(`${dtype}:${value}`, () => scalar(dtype, value));
    },
    ints: (list) =>
      sharedConstant(`int64:[${list}]`, () => ({
        dtype: "int64",
        shape: [list.length],
        data: BigInt64Array.from(list, BigInt),
      })),
    type,
    constantOf: (value) => constants.get(value),
    input: (name, valueType) => {
      assert(!values.has(name), `input "${name}" added twice`);
      inputs.push(name);
      values.set(name, valueType);
      return name;
    },
    variable: (name, valueType) => {
      constants.delete(name);
      if (!variables.includes(name)) variables.push(name);
      values.set(name, valueType);
      return name;
    },
    update: (variable, value) => {
      assert(variables.includes(variable), `update of "${variable}", which is not a variable`);
      updates.set(variable, value);
    },
    unique,
    graph: (outputs, name = start?.name ?? "graph") => ({
      name,
      inputs: [...inputs],
      outputs: [...outputs],
      nodes: [...nodes],
      values: new Map(values),
      constants: new Map(constants),
      ...(start?.literals ? { literals: start.literals } : {}),
      variables: [...variables],
      updates: new Map(updates),
    }),
  };
}
