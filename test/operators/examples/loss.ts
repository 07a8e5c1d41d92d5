// Examples of losses.
import { tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Forms } from "./example.ts";

const { normal } = draw(24);
const labels = tensorOf("int64", [4], [2, 0, 1, 2]);

export const lossExamples = {
  SoftmaxCrossEntropyLoss: [
    { inputs: [normal(4, 3), labels] },
    { name: "and its log-probabilities", inputs: [normal(4, 3), labels], outputs: 2, cotangents: [0, 1] },
    {
      name: "labels that are ignored",
      inputs: [normal(2, 3, 4), tensorOf("int64", [2, 4], [2, 3, 1, 2, 3, 0, 0, 3])],
      attributes: { ignore_index: 3 },
    },
    { name: "positions", inputs: [normal(2, 3, 2), tensorOf("int64", [2, 2], [2, 0, 1, 2])] },
  ],
} satisfies Record<string, Forms>;
