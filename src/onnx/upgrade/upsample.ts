// Upsample, gone since 10, is Resize with asymmetric coordinates; its scales were an attribute before 9.

import { tensorOf } from "../../ir/tensor.ts";
import { numbersAttribute } from "../../ops/attributes.ts";
import { cannotUpgrade, type Upgrade, withoutAttributes } from "./upgrade.ts";

export const toResize: Upgrade = {
  before: 10,
  upgrade: ({ node, opset, constant }) => {
    const scales = numbersAttribute(node, "scales");
    const input = scales ? constant("scales", tensorOf("float32", [scales.length], scales)) : node.inputs[1];
    if (!input) throw cannotUpgrade(node, opset, "it has no scales.");
    return [
      {
        ...node,
        op: "Resize",
        inputs: [node.inputs[0], "", input],
        attributes: {
          ...withoutAttributes(node, "scales"),
          coordinate_transformation_mode: "asymmetric",
          nearest_mode: "floor",
        },
      },
    ];
  },
};
