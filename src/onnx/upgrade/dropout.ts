// Dropout at inference is Identity, with a mask of ones where its output is used.
import { tensorOf, toNumbers } from "../../ir/tensor.ts";
import { always, cannotUpgrade, type Upgrade, type UpgradeContext } from "./upgrade.ts";

export const toIdentity: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node, opset, beside, isUsed } = context;
    if (isTraining(context))
      throw cannotUpgrade(node, opset, "it is in training mode. Export the model in evaluation mode: model.eval().");
    const identity = { ...node, op: "Identity", inputs: [node.inputs[0]], outputs: [node.outputs[0]], attributes: {} };
    const mask = node.outputs[1] ?? "";
    if (mask === "" || !isUsed(mask)) return [identity];
    if (opset < 10) throw cannotUpgrade(node, opset, `its mask "${mask}" is used, which is not handled.`);
    const shape = beside("Shape", [node.inputs[0]]);
    const ones = beside("ConstantOfShape", [shape.outputs[0]], { value: tensorOf("bool", [1], [1]) });
    return [identity, shape, { ...ones, outputs: [mask] }];
  },
};

function isTraining({ node, constantOf }: UpgradeContext): boolean {
  const mode = node.inputs[2] ?? "";
  if (mode === "") return false;
  const value = constantOf(mode);
  return value === undefined || toNumbers(value)[0] !== 0;
}
