// Examples of convolutions; more geometries stand beside their definitions and kernels.
import { draw, type Forms } from "./example.ts";

const { normal } = draw(19);
const strided = { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 2, 1], dilations: [1, 1], group: 1 };

export const convolutionExamples = {
  Conv: [
    { name: "strides and pads", inputs: [normal(2, 3, 6, 5), normal(4, 3, 3, 2), normal(4)], attributes: strided },
    { name: "groups", inputs: [normal(2, 4, 5, 5), normal(6, 2, 3, 3)], attributes: { group: 2 } },
  ],
  ConvTranspose: [
    {
      name: "strides and output padding",
      inputs: [normal(2, 3, 3, 4), normal(3, 2, 3, 3), normal(2)],
      attributes: { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] },
    },
    { name: "groups", inputs: [normal(1, 4, 3, 3), normal(4, 2, 2, 3)], attributes: { group: 2 } },
  ],
  ConvGradientInput: [
    { inputs: [normal(2, 4, 4, 5), normal(4, 3, 3, 2)], attributes: { ...strided, spatial: [6, 5] } },
  ],
  ConvGradientWeight: [{ inputs: [normal(2, 4, 4, 5), normal(2, 3, 6, 5)], attributes: strided }],
} satisfies Record<string, Forms>;
