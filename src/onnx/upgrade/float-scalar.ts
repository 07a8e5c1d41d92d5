// A number that an attribute held, as a constant of the element type of the node's first input.
import { scalar } from "../../ir/tensor.ts";
import { cannotUpgrade, type UpgradeContext } from "./upgrade.ts";

export function floatScalar({ node, opset, type, constant }: UpgradeContext, hint: string, value: number): string {
  const { dtype } = type(node.inputs[0]);
  if (dtype === "float16" || dtype === "bfloat16")
    throw cannotUpgrade(node, opset, `its attribute "${hint}" cannot be made ${dtype}. Export with opset 11 or newer.`);
  return constant(hint, scalar(dtype, value));
}
