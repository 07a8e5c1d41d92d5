// Examples of pools; more windows stand beside their definitions and kernels.
import { draw, type Forms } from "./example.ts";

const { normal, random } = draw(16);
const window = { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1] };

export const poolingExamples = {
  MaxPool: [
    { inputs: [normal(2, 3, 6, 5)], attributes: window },
    { name: "with indices", inputs: [normal(2, 3, 6, 5)], attributes: window, outputs: 2 },
    {
      name: "integers",
      inputs: [random.integerTensor("uint8", [1, 2, 6, 6], 0, 256)],
      attributes: { kernel_shape: [2, 2], strides: [2, 2] },
    },
  ],
  AveragePool: [
    { inputs: [normal(2, 3, 6, 5)], attributes: window },
    { inputs: [normal(2, 3, 6, 5)], attributes: { ...window, count_include_pad: 1 } },
  ],
  GlobalAveragePool: [{ inputs: [normal(2, 3, 4, 5)] }, { name: "one axis", inputs: [normal(2, 3, 5)] }],
  GlobalMaxPool: [{ inputs: [normal(2, 3, 4, 5)] }, { name: "one axis", inputs: [normal(2, 3, 5)] }],
  MaxPoolGradient: [{ inputs: [normal(2, 3, 3, 5), normal(2, 3, 6, 5)], attributes: window }],
  AveragePoolGradient: [{ inputs: [normal(2, 3, 3, 5)], attributes: { ...window, spatial: [6, 5] } }],
} satisfies Record<string, Forms>;
