// Examples of optimizer steps.
import { scalar, tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Forms } from "./example.ts";

const { normal, positive } = draw(27);
const rate = scalar("float64", 0.01);
const rows = tensorOf("int64", [2], [3, 0]);
const sgd = { momentum: 0.9, weightDecay: 0.01 };
const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 };

export const updateExamples = {
  SgdUpdate: [
    { inputs: [normal(4, 3), normal(4, 3), normal(4, 3), rate], attributes: sgd, outputs: 2 },
    {
      name: "two rows",
      inputs: [normal(4, 3), normal(2, 3), normal(4, 3), rate, rows],
      attributes: { ...sgd, axis: 0 },
      outputs: 2,
    },
  ],
  AdamUpdate: [
    {
      inputs: [normal(4, 3), normal(4, 3), normal(4, 3), positive(4, 3), scalar("float64", 4), rate],
      attributes: adam,
      outputs: 4,
    },
    {
      name: "two rows",
      inputs: [
        ...[normal(4, 3), normal(2, 3), normal(4, 3), positive(4, 3)],
        ...[tensorOf("float64", [4], [1, 2, 3, 4]), rate, rows],
      ],
      attributes: { ...adam, axis: 0 },
      outputs: 4,
    },
  ],
} satisfies Record<string, Forms>;
