// Up to 8 an attribute chose statistics per position; up to 13 more outputs meant training, since 14 an attribute does.
import { numberAttribute } from "../../ops/attributes.ts";
import { always, cannotUpgrade, type Upgrade, withoutAttributes } from "./upgrade.ts";

export const spatial: Upgrade = {
  before: 9,
  upgrade: ({ node, opset }) => {
    if (numberAttribute(node, "spatial", 1) !== 1)
      throw cannotUpgrade(node, opset, "statistics per position (spatial = 0) are not handled.");
    return [{ ...node, attributes: withoutAttributes(node, "spatial") }];
  },
};

export const inferenceOnly: Upgrade = {
  before: always,
  upgrade: ({ node, opset, isUsed }) => {
    const counts = opset < 14 ? [1, 4, 5] : [1, 3];
    if (!counts.includes(node.outputs.length))
      throw cannotUpgrade(node, opset, `it has ${node.outputs.length} outputs; expected ${counts.join(" or ")}.`);
    const statistics = node.outputs.slice(1).filter((output) => output !== "");
    const isTraining = opset < 14 ? statistics.length > 0 : numberAttribute(node, "training_mode", 0) !== 0;
    if (isTraining || statistics.some(isUsed))
      throw cannotUpgrade(node, opset, "it is in training mode. Export the model in evaluation mode: model.eval().");
    return [{ ...node, outputs: node.outputs.slice(0, 1), attributes: withoutAttributes(node, "training_mode") }];
  },
};
