// Collects the nodes and constants of the ONNX graph that a graph of ours is lowered to.
import type { DType } from "../../ir/dtype.ts";
import type { Attribute, Node } from "../../ir/graph.ts";
import { scalar, type Tensor, tensorOf } from "../../ir/tensor.ts";

type Attributes = Readonly<Record<string, Attribute>>;
type Inputs = readonly (string | undefined)[];

export interface Emitter {
  /** Adds a node and gives its output's name. */
  readonly node: (op: string, inputs: Inputs, attributes?: Attributes) => string;
  /** Adds a node with several outputs. */
  readonly nodes: (op: string, inputs: Inputs, outputs: number, attributes?: Attributes) => readonly string[];
  readonly constant: (value: Tensor) => string;
  readonly scalar: (value: number, dtype?: DType) => string;
  readonly ints: (values: readonly number[]) => string;
  readonly reshape: (value: string, shape: readonly number[]) => string;
  readonly transpose: (value: string, perm: readonly number[]) => string;
}

export interface EmittedGraph {
  readonly nodes: Node[];
  readonly constants: Map<string, Tensor>;
  /** The node that is being lowered; its name starts the names of what is emitted. */
  scope: string;
}

/** `taken` holds the names that the lowered graph keeps: inputs, variables and constants. */
export function createEmitter(taken: Iterable<string>): { readonly emit: Emitter; readonly emitted: EmittedGraph } {
  const names = new Set(taken);
  const counters = new Map<string, number>();
  const emitted: EmittedGraph = { nodes: [], constants: new Map(), scope: "" };
  const shared = new Map<string, string>();

  const unique = (hint: string): string => {
    let name = hint;
    while (names.has(name)) {
      const count = (counters.get(hint) ?? 0) + 1;
      counters.set(hint, count);
      name = `${hint}_${count}`;
    }
    names.add(name);
    return name;
  };
  const nodes: Emitter["nodes"] = (op, inputs, count, attributes = {}) => {
    const name = unique(`${emitted.scope}/${op.replace(/^.*::/, "")}`);
    const outputs = Array.from({ length: count }, (_, i) => (i === 0 ? name : unique(`${name}:${i}`)));
    emitted.nodes.push({ name, op, inputs: inputs.map((input) => input ?? ""), outputs, attributes });
    return outputs;
  };
  const constant = (value: Tensor, hint = "constant"): string => {
    const name = unique(hint);
    emitted.constants.set(name, value);
    return name;
  };
  const once = (key: string, make: () => Tensor): string => {
    const found = shared.get(key) ?? constant(make(), key);
    shared.set(key, found);
    return found;
  };
  const node: Emitter["node"] = (op, inputs, attributes) => nodes(op, inputs, 1, attributes)[0];
  const ints: Emitter["ints"] = (values) => once(`int64:[${values}]`, () => tensorOf("int64", [values.length], values));
  const emit: Emitter = {
    node,
    nodes,
    constant,
    scalar: (value, dtype = "float32") => once(`${dtype}:${value}`, () => scalar(dtype, value)),
    ints,
    reshape: (value, shape) => node("Reshape", [value, ints(shape)]),
    transpose: (value, perm) => node("Transpose", [value], { perm }),
  };
  return { emit, emitted };
}
