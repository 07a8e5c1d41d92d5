// Examples of the elementwise operators.
import { type Tensor, tensorOf } from "../../../src/ir/tensor.ts";
import { bool, draw, type Form, type Forms } from "./example.ts";

const { normal, positive, integers, random } = draw(11);
const int64 = (...values: number[]): Tensor => tensorOf("int64", [values.length], values);
const doubles = (...values: number[]): Tensor => tensorOf("float64", [values.length], values);
const ofNormal = (attributes: Form["attributes"] = {}): Form => ({ inputs: [normal(3, 4)], attributes });
const broadcast = (): Form => ({ name: "broadcast", inputs: [normal(2, 3, 4), positive(3, 1)] });
const threeInputs = (): Tensor[] => [normal(2, 3), normal(3), normal(2, 1)];
const divisors = tensorOf("int64", [2, 1], [4, -3]);
const halves = tensorOf("float32", [9], [-2.5, -1.5, -0.5, 0, 0.5, 1.5, 2.5, 3.2, -3.7]);
const special = tensorOf("float32", [4], [Number.NaN, 1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]);
const mask = bool([2, 3], [0, 1, 1, 0, 0, 1]);
const ofIntegers = (): Form => ({ name: "int64", inputs: [integers(7)] });
const ofTwoIntegers = (): Form => ({ name: "int64", inputs: [integers(2, 5), divisors] });
const compared = (): Forms => [ofTwoIntegers(), { name: "floats", inputs: [halves, tensorOf("float32", [], [0.5])] }];
const logical = (): Forms => [{ inputs: [mask, bool([3], [1, 0, 1])] }];
const staircase = (): Forms => [{ inputs: [halves] }];
const castTypes = ["float32", "int8", "int32", "int64", "bool", "float64"];

export const elementwiseExamples = {
  Add: [broadcast(), { name: "a scalar", inputs: [normal(), normal(2, 2)] }, ofTwoIntegers()],
  Sub: [broadcast(), ofTwoIntegers()],
  Mul: [broadcast(), ofTwoIntegers()],
  Div: [
    broadcast(),
    ofTwoIntegers(),
    { name: "int32", inputs: [random.integerTensor("int32", [6], -9, 9), tensorOf("int32", [1], [4])] },
  ],
  Pow: [
    { inputs: [positive(2, 3), normal(3)] },
    { name: "squares of negative numbers", inputs: [normal(2, 3), tensorOf("float64", [], [2])], wanted: [0] },
    { name: "an integer exponent", inputs: [normal(2, 3), tensorOf("int64", [], [3])] },
    { name: "int64", inputs: [integers(6), tensorOf("int64", [], [2])] },
  ],
  Mod: [
    { inputs: [normal(3, 4), positive(4)], attributes: { fmod: 1 } },
    ofTwoIntegers(),
    { ...ofTwoIntegers(), attributes: { fmod: 1 } },
  ],
  Neg: [ofNormal(), ofIntegers()],
  Abs: [ofNormal(), ofIntegers()],
  Sqrt: [{ inputs: [positive(3, 4)] }],
  Reciprocal: [ofNormal()],
  Exp: [ofNormal()],
  Log: [{ inputs: [positive(3, 4)] }],
  Erf: [ofNormal(), { name: "large", inputs: [tensorOf("float32", [8], [-7, -5, -2.6, -2.4, 2.4, 2.6, 5, 7])] }],
  Tanh: [ofNormal()],
  Sigmoid: [ofNormal()],
  Relu: [ofNormal(), { name: "special values", inputs: [special] }],
  ReluGradient: [{ inputs: [normal(3, 4), normal(3, 4)] }],
  LeakyRelu: [ofNormal(), ofNormal({ alpha: 0.25 })],
  Elu: [ofNormal(), ofNormal({ alpha: 0.5 })],
  Selu: [ofNormal(), ofNormal({ alpha: 1.5, gamma: 0.75 })],
  Celu: [ofNormal(), ofNormal({ alpha: 0.5 })],
  PRelu: [{ inputs: [normal(2, 3, 4), positive(3, 1)] }],
  HardSigmoid: [ofNormal(), ofNormal({ alpha: 0.5, beta: 0.25 })],
  HardSwish: [ofNormal(), { name: "beyond both ends", inputs: [doubles(-4, -2, 2, 5)] }],
  Clip: [
    { inputs: [normal(4, 5), tensorOf("float64", [], [-0.5]), tensorOf("float64", [], [0.75])] },
    { name: "no lower bound", inputs: [normal(4, 5), undefined, tensorOf("float64", [], [0.25])] },
    { name: "no bounds", inputs: [normal(4, 5)] },
    { name: "int64", inputs: [integers(6), tensorOf("int64", [], [-2]), tensorOf("int64", [], [3])] },
  ],
  ClipGradient: [
    { inputs: [normal(4, 5), normal(4, 5), tensorOf("float64", [], [-0.5]), tensorOf("float64", [], [0.75])] },
    { name: "no lower bound", inputs: [normal(4, 5), normal(4, 5), undefined, tensorOf("float64", [1], [0.25])] },
    { name: "no upper bound", inputs: [normal(4, 5), normal(4, 5), tensorOf("float64", [], [0.25])] },
  ],
  Softplus: [ofNormal()],
  Softsign: [ofNormal()],
  Mish: [ofNormal()],
  Gelu: [ofNormal(), ofNormal({ approximate: "tanh" })],
  ThresholdedRelu: [ofNormal(), ofNormal({ alpha: 0.25 })],
  Shrink: [ofNormal(), ofNormal({ lambd: 0.25, bias: 0.125 })],
  Sin: [ofNormal()],
  Cos: [ofNormal()],
  Min: [{ inputs: threeInputs() }, ofTwoIntegers()],
  Max: [{ inputs: threeInputs() }, ofTwoIntegers()],
  Sum: [{ inputs: threeInputs() }],
  Mean: [{ inputs: threeInputs() }],
  Sign: [...staircase(), ofIntegers()],
  Floor: staircase(),
  Ceil: staircase(),
  Round: staircase(),
  IsNaN: [{ inputs: [special] }],
  IsInf: [{ inputs: [special] }, { inputs: [special], attributes: { detect_positive: 0 } }],
  Not: [{ inputs: [mask] }],
  Equal: compared(),
  Greater: compared(),
  GreaterOrEqual: compared(),
  Less: compared(),
  LessOrEqual: compared(),
  And: logical(),
  Or: logical(),
  Xor: logical(),
  Where: [
    { name: "one condition that holds", inputs: [tensorOf("bool", [], [1]), normal(2, 16, 3, 3), normal(2, 16, 3, 3)] },
    { name: "one condition that does not hold", inputs: [tensorOf("bool", [1], [0]), normal(3, 4), normal(3, 4)] },
    { inputs: [bool([2, 1], [1, 0]), normal(2, 3), normal(3)] },
    { name: "int64", inputs: [mask, integers(2, 3), integers(1)] },
  ],
  Cast: [
    { inputs: [normal(2, 3)], attributes: { to: "float64" } },
    ...castTypes.map((to) => ({
      inputs: [tensorOf("float32", [6], [-3.7, -0.5, 0, 0.5, 2.5, 100.25])],
      attributes: { to },
    })),
    { name: "from int64", inputs: [int64(-3, 0, 7)], attributes: { to: "float32" } },
  ],
  Identity: [ofNormal()],
  Dropout: [{ inputs: [normal(2, 3)], outputs: 2 }],
} satisfies Record<string, Forms>;
