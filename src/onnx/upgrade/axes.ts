// Squeeze, Unsqueeze, ReduceSum from 13 and the other reductions from 18: axes became an input.
import { numbersAttribute } from "../../ops/attributes.ts";
import { type Upgrade, withoutAttributes } from "./upgrade.ts";

export const axesToInput = (before: number): Upgrade => ({
  before,
  upgrade: ({ node, ints }) => {
    const axes = numbersAttribute(node, "axes", []);
    const inputs = axes.length === 0 ? node.inputs : [node.inputs[0], ints("axes", axes)];
    return [{ ...node, inputs, attributes: withoutAttributes(node, "axes") }];
  },
});
