// Squeeze, Unsqueeze, ReduceSum before 13 and the other reductions before 18: axes as an attribute.
import type { Downgrade } from "./downgrade.ts";
import { withAttributes } from "./downgrade.ts";

export const axesToAttribute = (before: number): Downgrade => ({
  before,
  downgrade: ({ node, numbersOf }) => {
    const axes = numbersOf(1, before);
    return [withAttributes({ ...node, inputs: [node.inputs[0]] }, { axes })];
  },
});
