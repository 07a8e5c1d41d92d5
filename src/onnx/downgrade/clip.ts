// Clip before 11: bounds as attributes; the float types only before 12.
import { isFloat } from "../../ir/dtype.ts";
import { type Downgrade, NeedsOpset, withAttributes } from "./downgrade.ts";

export const boundsToAttributes: Downgrade = {
  before: 11,
  downgrade: ({ node, type, numbersOf }) => {
    const { dtype } = type(node.inputs[0]);
    if (!isFloat(dtype)) throw new NeedsOpset(12, `it clips ${dtype}`);
    if (dtype === "float16" || dtype === "bfloat16") throw new NeedsOpset(11, `its bounds are ${dtype}`);
    const [min] = numbersOf(1, 11) ?? [];
    const [max] = numbersOf(2, 11) ?? [];
    return [withAttributes({ ...node, inputs: [node.inputs[0]] }, { min, max })];
  },
};
