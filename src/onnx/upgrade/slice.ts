// Before 10 starts, ends and axes were attributes.
import { numbersAttribute } from "../../ops/attributes.ts";
import { type Upgrade, withoutAttributes } from "./upgrade.ts";

export const rangesToInputs: Upgrade = {
  before: 10,
  upgrade: ({ node, ints }) => {
    const starts = numbersAttribute(node, "starts", []);
    const ends = numbersAttribute(node, "ends", []);
    const axes = numbersAttribute(node, "axes", [...starts.keys()]);
    const inputs = [node.inputs[0], ints("starts", starts), ints("ends", ends), ints("axes", axes)];
    return [{ ...node, inputs, attributes: withoutAttributes(node, "starts", "ends", "axes") }];
  },
};
