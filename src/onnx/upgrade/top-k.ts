// Before 10 k was an attribute.
import { numberAttribute } from "../../ops/attributes.ts";
import { cannotUpgrade, type Upgrade, withoutAttributes } from "./upgrade.ts";

export const countToInput: Upgrade = {
  before: 10,
  upgrade: ({ node, opset, ints }) => {
    const count = numberAttribute(node, "k");
    if (count === undefined) throw cannotUpgrade(node, opset, 'it has no attribute "k".');
    return [{ ...node, inputs: [node.inputs[0], ints("k", [count])], attributes: withoutAttributes(node, "k") }];
  },
};
