// Turns a float32 graph into a float64 one or back.
import type { Attribute, Graph, Node, ValueType } from "../ir/graph.ts";
import { castTensor, type Tensor } from "../ir/tensor.ts";
import { constantValue } from "../ops/constant-value.ts";
import { inferTypes } from "./infer-types.ts";

type FloatType = "float32" | "float64";

const isOther = (dtype: unknown, to: FloatType): boolean =>
  (dtype === "float32" || dtype === "float64") && dtype !== to;

const castOther = (value: Tensor, to: FloatType): Tensor => (isOther(value.dtype, to) ? castTensor(value, to) : value);

function castAttribute(value: Attribute, to: FloatType): Attribute {
  if (typeof value === "object" && "dtype" in value) return castOther(value, to);
  return value;
}

/** Nodes that make floats from nothing say so in attributes. */
function castNode(node: Node, to: FloatType): Node {
  if (node.op === "Constant") return { ...node, attributes: { value: castOther(constantValue(node), to) } };
  if (node.op === "ConstantOfShape" && node.attributes["value"] === undefined)
    return {
      ...node,
      attributes: { value: castTensor({ dtype: "float32", shape: [1], data: new Float32Array(1) }, to) },
    };
  if (node.op === "Cast" && isOther(node.attributes["to"], to))
    return { ...node, attributes: { ...node.attributes, to } };
  const attributes = Object.entries(node.attributes).map(([name, value]) => [name, castAttribute(value, to)] as const);
  return { ...node, attributes: Object.fromEntries(attributes) };
}

/** Every float32 and float64 constant, input, variable and attribute becomes `to`; other dtypes stay. */
export function castFloats(graph: Graph, to: FloatType): Graph {
  const castType = (type: ValueType): ValueType => (isOther(type.dtype, to) ? { ...type, dtype: to } : type);
  return inferTypes({
    ...graph,
    nodes: graph.nodes.map((node) => castNode(node, to)),
    constants: new Map([...graph.constants].map(([name, value]) => [name, castOther(value, to)])),
    values: new Map([...graph.values].map(([name, type]) => [name, castType(type)])),
  });
}
