// Upsample, gone since 10, is Resize with asymmetric coordinates; its scales were an attribute before 9.

import { type Tensor, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { numbersAttribute } from "../../ops/attributes.ts";
import { cannotUpgrade, type Upgrade, withoutAttributes } from "./upgrade.ts";

const knownOf = (scales: Tensor | undefined): readonly number[] => (scales ? toNumbers(scales) : []);

export const toResize: Upgrade = {
  before: 10,
  upgrade: ({ node, opset, constant, constantOf }) => {
    const scales = numbersAttribute(node, "scales");
    const input = scales ? constant("scales", tensorOf("float32", [scales.length], scales)) : node.inputs[1];
    if (!input) throw cannotUpgrade(node, opset, "it has no scales.");
    const given = scales ?? knownOf(constantOf(input));
    const small = given.find((scale) => !(scale >= 1));
    if (small !== undefined) throw cannotUpgrade(node, opset, `it has the scale ${small}; expected 1 or more.`);
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
