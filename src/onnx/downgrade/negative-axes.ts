// Before 11 axes count from the front.
import { numberAttribute, numbersAttribute } from "../../ops/attributes.ts";
import { type Downgrade, withAttributes } from "./downgrade.ts";

export const positiveAxes: Downgrade = {
  before: 11,
  downgrade: ({ node, type }) => {
    const axis = numberAttribute(node, "axis");
    const axes = numbersAttribute(node, "axes");
    if (!(axis !== undefined && axis < 0) && !axes?.some((each) => each < 0)) return [node];
    const rank = type(node.inputs[0]).shape.length + (node.op === "Unsqueeze" ? (axes?.length ?? 0) : 0);
    const positive = (each: number): number => (each < 0 ? each + rank : each);
    return [
      withAttributes(node, {
        ...(axis !== undefined && { axis: positive(axis) }),
        ...(axes && { axes: axes.map(positive) }),
      }),
    ];
  },
};
