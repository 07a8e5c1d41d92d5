// Pad before 18 has no axes; before 11 its pads and value are attributes.

import { tensorOf } from "../../ir/tensor.ts";
import { stringAttribute } from "../../ops/attributes.ts";
import { type Downgrade, NeedsOpset, withAttributes } from "./downgrade.ts";

export const wholePads: Downgrade = {
  before: 19,
  downgrade: ({ node, opset, type, numbersOf, constant }) => {
    if (stringAttribute(node, "mode", "constant") === "wrap") throw new NeedsOpset(19, 'its mode "wrap" is newer');
    if (!node.inputs[3] || opset >= 18) return [node];
    const rank = type(node.inputs[0]).shape.length;
    const axes = numbersOf(3, 18) ?? [];
    const pads = numbersOf(1, 18) ?? [];
    const whole = new Array<number>(2 * rank).fill(0);
    axes.forEach((axis, i) => {
      const at = axis < 0 ? axis + rank : axis;
      whole[at] = pads[i];
      whole[at + rank] = pads[i + axes.length];
    });
    const input = constant("pads", tensorOf("int64", [2 * rank], whole));
    return [{ ...node, inputs: [node.inputs[0], input, ...(node.inputs[2] ? [node.inputs[2]] : [])] }];
  },
};

export const padsToAttributes: Downgrade = {
  before: 11,
  downgrade: ({ node, numbersOf }) => {
    const pads = numbersOf(1, 11);
    const [value] = numbersOf(2, 11) ?? [];
    return [withAttributes({ ...node, inputs: [node.inputs[0]] }, { pads, value })];
  },
};
