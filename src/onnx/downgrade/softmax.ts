// Softmax and LogSoftmax before 13 normalize over all axes from `axis` on: the axis must be the last.
import { numberAttribute } from "../../ops/attributes.ts";
import type { Downgrade } from "./downgrade.ts";
import { withAttributes } from "./downgrade.ts";

export const lastAxis: Downgrade = {
  before: 13,
  downgrade: ({ node, type, beside }) => {
    const { shape } = type(node.inputs[0]);
    const rank = shape.length;
    const axis = numberAttribute(node, "axis", -1);
    const at = axis < 0 ? axis + rank : axis;
    if (shape.slice(at + 1).every((size) => size === 1)) return [withAttributes(node, { axis: at })];
    const perm = shape.map((_, i) => (i === at ? rank - 1 : i === rank - 1 ? at : i)); // its own inverse
    const moved = beside("Transpose", [node.inputs[0]], { perm });
    const normalized = beside(node.op, moved.outputs, { axis: rank - 1 });
    return [moved, normalized, { ...node, op: "Transpose", inputs: normalized.outputs, attributes: { perm } }];
  },
};
