// Before 11 the pads and the value were attributes.
import { numberAttribute, numbersAttribute } from "../../ops/attributes.ts";
import { floatScalar } from "./float-scalar.ts";
import { type Upgrade, withoutAttributes } from "./upgrade.ts";

export const padsToInputs: Upgrade = {
  before: 11,
  upgrade: (context) => {
    const { node, ints } = context;
    const pads = ints("pads", numbersAttribute(node, "pads", []));
    const value = numberAttribute(node, "value", 0);
    const inputs = [node.inputs[0], pads, ...(value === 0 ? [] : [floatScalar(context, "value", value)])];
    return [{ ...node, inputs, attributes: withoutAttributes(node, "pads", "value") }];
  },
};
