// Collects the nodes that an operator's definition in terms of others consists of.
import type { DType } from "../../ir/dtype.ts";
import type { Attribute, Dim, Node } from "../../ir/graph.ts";
import { scalar } from "../../ir/tensor.ts";
import type { UpgradeContext } from "./upgrade.ts";

type Attributes = Readonly<Record<string, Attribute>>;

export interface Replacement {
  /** Adds a node and gives its output. */
  readonly call: (op: string, inputs: readonly string[], attributes?: Attributes) => string;
  readonly ints: (values: readonly number[]) => string;
  /** A float constant of the dtype of `like`. */
  readonly of: (value: number, like: string) => string;
  /** One size of a value as a 1-D int64 tensor: a constant where it is known. */
  readonly size: (value: string, axis: number) => string;
  readonly reshape: (value: string, shape: readonly number[]) => string;
  /** The nodes, with `values` as the outputs of the node that they replace; "" for an unused one. */
  readonly finish: (...values: readonly string[]) => readonly Node[];
}

export function replacement(context: UpgradeContext): Replacement {
  const { node, type, constant, ints, beside } = context;
  const nodes: Node[] = [];
  const call: Replacement["call"] = (op, inputs, attributes) => {
    const added = beside(op, inputs, attributes);
    nodes.push(added);
    return added.outputs[0];
  };
  return {
    call,
    ints: (values) => ints("ints", values),
    of: (value, like) => constant("constant", scalar(type(like).dtype as DType, value)),
    size: (value, axis) => {
      const dim: Dim = type(value).shape[axis];
      if (typeof dim === "number") return ints("size", [dim]);
      return call("Gather", [call("Shape", [value]), ints("axis", [axis])], { axis: 0 });
    },
    reshape: (value, shape) => call("Reshape", [value, ints("shape", shape)]),
    finish: (...values) => renamed(nodes, node, values, call),
  };
}

/** The made values take the names of the replaced node's outputs; a value made elsewhere passes through an Identity. */
function renamed(
  nodes: readonly Node[],
  replaced: Node,
  values: readonly string[],
  call: Replacement["call"],
): readonly Node[] {
  const names = new Map<string, string>();
  values.forEach((value, i) => {
    const output = replaced.outputs[i] ?? "";
    if (output === "") return;
    const isOwn = nodes.some(({ outputs }) => outputs.includes(value)) && !names.has(value);
    names.set(isOwn ? value : call("Identity", [value]), output);
  });
  const rename = (value: string): string => names.get(value) ?? value;
  return nodes.map((node) => {
    const isMain = node.outputs[0] === values[0];
    return {
      ...node,
      name: isMain ? replaced.name : node.name,
      inputs: node.inputs.map(rename),
      outputs: node.outputs.map(rename),
    };
  });
}
