// Examples of the differentiable elementwise operators.
import { tensorOf } from "../../../src/ir/tensor.ts";
import { bool, draw, type Example } from "./example.ts";

const { normal, positive } = draw(11);
const ofNormal = (op: string, attributes: Example["attributes"] = {}): Example => ({
  op,
  inputs: [normal(3, 4)],
  attributes,
});
const broadcast = (op: string): Example => ({ op, name: "broadcast", inputs: [normal(2, 3, 4), positive(3, 1)] });
const threeInputs = () => [normal(2, 3), normal(3), normal(2, 1)];

export const elementwiseExamples: readonly Example[] = [
  broadcast("Add"),
  broadcast("Sub"),
  broadcast("Mul"),
  broadcast("Div"),
  { op: "Add", name: "a scalar", inputs: [normal(), normal(2, 2)] },
  { op: "Pow", inputs: [positive(2, 3), normal(3)] },
  { op: "Pow", name: "squares of negative numbers", inputs: [normal(2, 3), tensorOf("float64", [], [2])], wanted: [0] },
  { op: "Pow", name: "an integer exponent", inputs: [normal(2, 3), tensorOf("int64", [], [3])] },
  { op: "Mod", inputs: [normal(3, 4), positive(4)], attributes: { fmod: 1 } },
  ...["Neg", "Abs", "Reciprocal", "Exp", "Erf", "Tanh", "Sigmoid", "Relu", "Softplus", "Softsign", "Mish"].map((op) =>
    ofNormal(op),
  ),
  ...["Sin", "Cos", "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish", "ThresholdedRelu", "Gelu"].map(
    (op) => ofNormal(op),
  ),
  ...["Tan", "Atan", "Sinh", "Cosh", "Asinh", "Shrink"].map((op) => ofNormal(op)),
  ...["Asin", "Acos", "Atanh"].map((op) => ({ op, inputs: [tensorOf("float64", [4], [-0.9, -0.3, 0.2, 0.8])] })),
  { op: "Acosh", inputs: [tensorOf("float64", [3], [1.2, 2, 7])] },
  ofNormal("Shrink", { lambd: 0.25, bias: 0.125 }),
  { op: "Sqrt", inputs: [positive(3, 4)] },
  { op: "Log", inputs: [positive(3, 4)] },
  { op: "ReluGradient", inputs: [normal(3, 4), normal(3, 4)] },
  ofNormal("LeakyRelu", { alpha: 0.25 }),
  ofNormal("Elu", { alpha: 0.5 }),
  ofNormal("Selu", { alpha: 1.5, gamma: 0.75 }),
  ofNormal("Celu", { alpha: 0.5 }),
  ofNormal("HardSigmoid", { alpha: 0.5, beta: 0.25 }),
  { op: "HardSwish", name: "beyond both ends", inputs: [tensorOf("float64", [4], [-4, -2, 2, 5])] },
  ofNormal("ThresholdedRelu", { alpha: 0.25 }),
  ofNormal("Gelu", { approximate: "tanh" }),
  { op: "PRelu", inputs: [normal(2, 3, 4), positive(3, 1)] },
  { op: "Clip", inputs: [normal(4, 5), tensorOf("float64", [], [-0.5]), tensorOf("float64", [], [0.75])] },
  { op: "Clip", name: "no lower bound", inputs: [normal(4, 5), undefined, tensorOf("float64", [], [0.25])] },
  { op: "Clip", name: "no bounds", inputs: [normal(4, 5)] },
  { op: "Min", inputs: threeInputs() },
  { op: "Max", inputs: threeInputs() },
  { op: "Sum", inputs: threeInputs() },
  { op: "Mean", inputs: threeInputs() },
  { op: "Where", inputs: [bool([2, 1], [1, 0]), normal(2, 3), normal(3)] },
  ofNormal("Identity"),
  { op: "Dropout", inputs: [normal(2, 3)], outputs: 2 },
  { op: "Cast", inputs: [normal(2, 3)], attributes: { to: "float64" } },
];
