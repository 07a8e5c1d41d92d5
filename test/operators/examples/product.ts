// Examples of matrix products; more shapes stand beside their definitions and kernels.
import { draw, type Forms } from "./example.ts";

const { normal } = draw(25);

export const productExamples = {
  MatMul: [
    { inputs: [normal(5, 7), normal(7, 6)] },
    { name: "batches broadcast against each other", inputs: [normal(2, 1, 5, 4), normal(3, 4, 2)] },
    { name: "a row against a batch", inputs: [normal(4), normal(2, 4, 3)] },
    { name: "a column", inputs: [normal(2, 5, 4), normal(4)] },
  ],
  Gemm: [
    { inputs: [normal(5, 7), normal(6, 7), normal(6)], attributes: { transB: 1 } },
    {
      name: "a bias per row",
      inputs: [normal(7, 5), normal(7, 6), normal(5, 1)],
      attributes: { transA: 1, alpha: 0.5, beta: 2 },
    },
  ],
} satisfies Record<string, Forms>;
