// Before 11 the bounds were attributes.
import { numberAttribute } from "../../ops/attributes.ts";
import { floatScalar } from "./float-scalar.ts";
import { type Upgrade, withoutAttributes } from "./upgrade.ts";

export const boundsToInputs: Upgrade = {
  before: 11,
  upgrade: (context) => {
    const { node } = context;
    const bounds = ["min", "max"].map((name) => {
      const value = numberAttribute(node, name);
      return value === undefined ? "" : floatScalar(context, name, value);
    });
    return [{ ...node, inputs: [node.inputs[0], ...bounds], attributes: withoutAttributes(node, "min", "max") }];
  },
};
