// Before 13 the sizes were an attribute; since 18 an even split says its number of outputs.
import { numbersAttribute } from "../../ops/attributes.ts";
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
  upgrade: ({ node }) =>
    node.inputs.length > 1
      ? [node]
      : [{ ...node, attributes: { ...node.attributes, num_outputs: node.outputs.length } }],
};
