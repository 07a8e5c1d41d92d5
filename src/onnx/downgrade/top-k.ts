// TopK before 10: k as an attribute.
import { type Downgrade, withAttributes } from "./downgrade.ts";

export const countToAttribute: Downgrade = {
  before: 10,
  downgrade: ({ node, numbersOf }) => [
    withAttributes({ ...node, inputs: [node.inputs[0]] }, { k: numbersOf(1, 10)?.[0] }),
  ],
};
