// Examples of levels that are not evenly spaced.
import { tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Forms } from "./example.ts";

const { random } = draw(52);
const levels = tensorOf("float32", [5], [-1, -0.3, 0, 0.1, 0.9]);

export const levelExamples = {
  LevelQuantize: [
    {
      inputs: [random.tensor("float32", [3, 4, 2]), random.uniformTensor("float32", [4], 0.5, 2), levels],
      attributes: { axis: 1, bits: 3 },
    },
    { name: "a scale for all", inputs: [random.tensor("float32", [3, 4]), tensorOf("float32", [], [0.7]), levels] },
  ],
  LevelDequantize: [
    {
      inputs: [random.integerTensor("uint8", [3, 4, 2], 0, 5), random.uniformTensor("float32", [3], -1, 1), levels],
      attributes: { axis: 0 },
    },
  ],
} satisfies Record<string, Forms>;
