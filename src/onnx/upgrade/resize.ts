// Resize of 10 had asymmetric coordinates and no choice; from 11 to 12 empty tensors stood for inputs left out.

import { toNumbers } from "../../ir/tensor.ts";
import { stringAttribute } from "../../ops/attributes.ts";
import { always, cannotUpgrade, type Upgrade, type UpgradeContext } from "./upgrade.ts";

export const asymmetric: Upgrade = {
  before: 11,
  upgrade: (context) => {
    const { node } = context;
    const attributes = {
      ...node.attributes,
      coordinate_transformation_mode: "asymmetric",
      nearest_mode: nearestMode(context),
    };
    return [{ ...node, inputs: [node.inputs[0], "", node.inputs[1]], attributes }];
  },
};

/** ONNX Runtime's reading of opset 10: growing takes the pixel before, shrinking the pixel after. */
function nearestMode({ node, opset, constantOf }: UpgradeContext): string {
  const scales = constantOf(node.inputs[1] ?? "");
  if (!scales) return "floor";
  const numbers = toNumbers(scales);
  const shrinks = numbers.some((scale) => scale < 1);
  if (shrinks && numbers.some((scale) => scale > 1) && stringAttribute(node, "mode", "nearest") === "nearest")
    throw cannotUpgrade(node, opset, `scales [${numbers.join(", ")}] both grow and shrink, which has no newer form.`);
  return shrinks ? "ceil" : "floor";
}

export const emptyInputs: Upgrade = {
  before: always,
  upgrade: ({ node, opset, constantOf }) => {
    const mode = stringAttribute(node, "coordinate_transformation_mode", "half_pixel");
    if (mode === "tf_half_pixel_for_nn")
      throw cannotUpgrade(node, opset, 'coordinate_transformation_mode "tf_half_pixel_for_nn" is gone since opset 13.');
    const inputs = node.inputs.map((input, i) => {
      const isIdle = i === 1 && mode !== "tf_crop_and_resize";
      return isIdle || constantOf(input)?.data.length === 0 ? "" : input;
    });
    while (inputs[inputs.length - 1] === "") inputs.pop();
    return [{ ...node, inputs }];
  },
};
