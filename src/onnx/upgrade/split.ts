// Before 13 the sizes were an attribute; since 18 an even split says its number of outputs.
import { mismatch, numberAttribute, numbersAttribute, printShape } from "../../ops/attributes.ts";
import { resolveAxis } from "../../ops/operands.ts";
import { type Upgrade, withoutAttributes } from "./upgrade.ts";

export const sizesToInput: Upgrade = {
  before: 13,
  upgrade: ({ node, ints }) => {
    const sizes = numbersAttribute(node, "split", []);
    const inputs = sizes.length === 0 ? node.inputs : [node.inputs[0], ints("split", sizes)];
    return [{ ...node, inputs, attributes: withoutAttributes(node, "split") }];
  },
};

export const countOutputs: Upgrade = {
  before: 18,
  upgrade: ({ node, type }) => {
    if (node.inputs.length > 1) return [node];
    const { shape } = type(node.inputs[0]);
    const size = shape[resolveAxis(node, numberAttribute(node, "axis", 0), shape.length)];
    const count = node.outputs.length;
    if (typeof size === "number" && size % count !== 0)
      throw mismatch(node, `cannot split ${printShape(shape)} into ${count} equal parts; its sizes are not given.`);
    return [{ ...node, attributes: { ...node.attributes, num_outputs: count } }];
  },
};
