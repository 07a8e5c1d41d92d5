// Split before 18 does not say its number of outputs; before 13 its sizes are an attribute.

import { tensorOf } from "../../ir/tensor.ts";
import { numberAttribute } from "../../ops/attributes.ts";
import { type Downgrade, NeedsOpset, withAttributes } from "./downgrade.ts";

export const explicitSizes: Downgrade = {
  before: 18,
  downgrade: ({ node, type, constant }) => {
    const plain = withAttributes(node, { num_outputs: undefined });
    if (node.inputs[1]) return [plain];
    const { shape } = type(node.inputs[0]);
    const axis = numberAttribute(node, "axis", 0);
    const size = shape[axis < 0 ? axis + shape.length : axis];
    if (typeof size !== "number") throw new NeedsOpset(18, `it splits the symbolic size "${size}"`);
    const part = Math.ceil(size / node.outputs.length);
    const sizes = node.outputs.map((_, i) => Math.min(part, size - i * part));
    const input = constant("split", tensorOf("int64", [sizes.length], sizes));
    return [{ ...plain, inputs: [node.inputs[0], input] }];
  },
};

export const sizesToAttribute: Downgrade = {
  before: 13,
  downgrade: ({ node, numbersOf }) => [
    withAttributes({ ...node, inputs: [node.inputs[0]] }, { split: numbersOf(1, 13) }),
  ],
};
