// Softmax and LogSoftmax normalized over all axes from `axis` on before 13, since then over `axis` alone.
import { numberAttribute } from "../../ops/attributes.ts";
import { resolveAxis } from "../../ops/operands.ts";
import type { Upgrade } from "./upgrade.ts";

export const flattened: Upgrade = {
  before: 13,
  upgrade: ({ node, type, beside }) => {
    const [x] = node.inputs;
    const { shape } = type(x);
    const first = resolveAxis(node, numberAttribute(node, "axis", 1), shape.length);
    const isOneAxis = shape.slice(first + 1).every((size) => size === 1);
    if (isOneAxis) return [{ ...node, attributes: { ...node.attributes, axis: first } }];
    const sizes = beside("Shape", [x]);
    const flat = beside("Flatten", [x], { axis: first });
    const normalized = beside(node.op, flat.outputs, { axis: 1 });
    const back = { ...node, op: "Reshape", inputs: [normalized.outputs[0], sizes.outputs[0]], attributes: {} };
    return [sizes, flat, normalized, back];
  },
};
