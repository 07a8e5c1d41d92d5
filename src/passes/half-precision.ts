// Models in half precision are computed in float32; their inputs, outputs and constants are written back as they were.
import type { Attribute, Graph, Node, ValueType } from "../ir/graph.ts";
import { type HalfType, isHalf, narrowTensor, widened, widenTensor } from "../ir/half.ts";
import type { Tensor } from "../ir/tensor.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";

/** Which inputs, outputs and constants a file has in half precision. */
export type HalfValues = ReadonlyMap<string, HalfType>;

function widenAttribute(value: Attribute): Attribute {
  if (isHalf(value)) return widened(value);
  return typeof value === "object" && "dtype" in value ? widenTensor(value) : value;
}

/** Casts to half precision become casts to float32, and attributes follow. */
const widenNode = (node: Node): Node => ({
  ...node,
  attributes: Object.fromEntries(
    Object.entries(node.attributes).map(([name, value]) => [name, widenAttribute(value)] as const),
  ),
});

const widenType = (type: ValueType): ValueType => ({ ...type, dtype: widened(type.dtype) });

export interface Widened {
  readonly graph: Graph;
  readonly half: HalfValues;
}

/** The graph in float32, and what of it was half precision. `outputs`: the outputs' types as far as the file says them. */
export function widenHalf(graph: Graph, outputs: ReadonlyMap<string, Pick<ValueType, "dtype">>): Widened {
  const half = new Map<string, HalfType>();
  const note = (name: string, dtype: unknown): void => {
    if (isHalf(dtype)) half.set(name, dtype);
  };
  for (const [name, { dtype }] of graph.constants) note(name, dtype);
  for (const name of graph.inputs) note(name, graph.values.get(name)?.dtype);
  for (const [name, { dtype }] of outputs) note(name, dtype);
  const isUsed =
    half.size > 0 ||
    graph.nodes.some(({ attributes }) => Object.values(attributes).some((value) => isHalfAttribute(value)));
  if (!isUsed) return { graph, half };
  return {
    graph: {
      ...graph,
      nodes: graph.nodes.map(widenNode),
      constants: new Map([...graph.constants].map(([name, value]) => [name, widenTensor(value)])),
      values: new Map([...graph.values].map(([name, type]) => [name, widenType(type)])),
    },
    half,
  };
}

const isHalfAttribute = (value: Attribute): boolean =>
  isHalf(value) || (typeof value === "object" && "dtype" in value && isHalf(value.dtype));

/** Constants that are written in half precision, rounded to it: what the file will compute with. */
export function roundHalf(graph: Graph, half: HalfValues): Graph {
  if (half.size === 0) return graph;
  const round = (name: string, value: Tensor): Tensor => {
    const dtype = half.get(name);
    return dtype && value.dtype === "float32" ? widenTensor(narrowTensor(value, dtype)) : value;
  };
  return { ...graph, constants: new Map([...graph.constants].map(([name, value]) => [name, round(name, value)])) };
}

/** The graph as files have it: what was half precision is again, with casts to and from the float32 that computes. */
export function narrowHalf(graph: Graph, half: HalfValues): Graph {
  const unique = uniqueNamesIn(graph);
  const constants = new Map(graph.constants);
  const values = new Map(graph.values);
  const renamed = new Map<string, string>();
  const before: Node[] = [];
  const after: Node[] = [];
  const wide = (name: string): string => {
    const found = renamed.get(name) ?? unique(`${name}/float32`);
    renamed.set(name, found);
    values.set(found, values.get(name) ?? { dtype: "float32", shape: [] });
    return found;
  };
  const cast = (from: string, to: string, dtype: HalfType | "float32"): Node => ({
    name: unique(`${to}/cast`),
    op: "Cast",
    inputs: [from],
    outputs: [to],
    attributes: { to: dtype },
  });
  for (const [name, dtype] of half) {
    const type = values.get(name);
    const constant = graph.constants.get(name);
    const isInput = graph.inputs.includes(name);
    const isOutput = graph.outputs.includes(name);
    if (type?.dtype !== "float32" || !(constant || isInput || isOutput)) continue;
    const inner = wide(name);
    if (constant) constants.set(name, narrowTensor(constant, dtype));
    if (constant || isInput) before.push(cast(name, inner, "float32"));
    else after.push(cast(inner, name, dtype));
    values.set(name, { ...type, dtype });
  }
  const rename = (name: string): string => renamed.get(name) ?? name;
  const nodes = graph.nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map(rename),
    outputs: node.outputs.map(rename),
  }));
  return { ...graph, nodes: [...before, ...nodes, ...after], constants, values };
}
