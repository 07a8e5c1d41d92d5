// Reads the tensor of a Constant node.
import type { Node } from "../ir/graph.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { numberAttribute, numbersAttribute, tensorAttribute, unsupported } from "./attributes.ts";

/** The tensor that a Constant node holds in one of its attributes. */
export function constantValue(node: Node): Tensor {
  const value = tensorAttribute(node, "value");
  if (value) return value;
  const number = (name: string): Tensor | undefined => {
    const attribute = numberAttribute(node, name);
    return attribute === undefined ? undefined : tensorOf(name === "value_int" ? "int64" : "float32", [], [attribute]);
  };
  const numbers = (name: string): Tensor | undefined => {
    const attribute = numbersAttribute(node, name);
    return attribute && tensorOf(name === "value_ints" ? "int64" : "float32", [attribute.length], attribute);
  };
  const found = number("value_float") ?? number("value_int") ?? numbers("value_floats") ?? numbers("value_ints");
  if (found) return found;
  throw unsupported(
    node,
    `its attributes are ${Object.keys(node.attributes).join(", ")}; expected value, value_float(s) or value_int(s).`,
  );
}
