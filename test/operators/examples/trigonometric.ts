// Examples of trigonometric and hyperbolic functions.
import { tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Forms } from "./example.ts";

const { normal } = draw(20);
const ofNormal = (): Forms => [{ inputs: [normal(3, 4)] }];
const withinOne = (): Forms => [{ inputs: [tensorOf("float64", [4], [-0.9, -0.3, 0.2, 0.8])] }];

export const trigonometricExamples = {
  Tan: ofNormal(),
  Asin: withinOne(),
  Acos: withinOne(),
  Atan: ofNormal(),
  Sinh: ofNormal(),
  Cosh: ofNormal(),
  Asinh: ofNormal(),
  Acosh: [{ inputs: [tensorOf("float64", [3], [1.2, 2, 7])] }],
  Atanh: withinOne(),
} satisfies Record<string, Forms>;
