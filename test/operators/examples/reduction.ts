// Examples of the reductions.
import { tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Form, type Forms, int64, int64Scalar } from "./example.ts";

const { normal } = draw(14);
const large = { name: "large values", inputs: [tensorOf("float32", [3], [1000, 1001, 999])] };
const whole: Form = { name: "int64", inputs: [tensorOf("int64", [2, 3], [3, -2, 5, 1, 4, 2]), int64(1)] };

const reduced = (): Forms => [
  { name: "everything", inputs: [normal(2, 3, 4)], attributes: { keepdims: 0 } },
  { name: "two axes", inputs: [normal(2, 3, 4), int64(-1, 0)], attributes: { keepdims: 0 } },
  { name: "one axis kept", inputs: [normal(2, 3, 4), int64(1)] },
  { name: "one axis dropped", inputs: [normal(2, 3, 4), int64(1)], attributes: { keepdims: 0 } },
];

export const reductionExamples = {
  ReduceSum: [
    ...reduced(),
    whole,
    { name: "no axes", inputs: [normal(2, 3)], attributes: { noop_with_empty_axes: 1 } },
    { name: "one axis by two names", inputs: [normal(2, 3, 4), int64(2, -1, 1)], attributes: { keepdims: 0 } },
  ],
  ReduceMean: reduced(),
  ReduceMax: [...reduced(), whole],
  ReduceMin: [...reduced(), whole],
  ReduceProd: [
    ...reduced(),
    whole,
    { name: "zeros", inputs: [tensorOf("float64", [3, 3], [1, 0, 2, 0, 0, 3, 2, 4, 5]), int64(1)] },
  ],
  ReduceL1: reduced(),
  ReduceL2: reduced(),
  ReduceSumSquare: reduced(),
  ReduceLogSumExp: [...reduced(), large],
  Softmax: [{ inputs: [normal(3, 4)] }, { inputs: [normal(2, 3, 4)], attributes: { axis: 1 } }, large],
  LogSoftmax: [{ inputs: [normal(3, 4)] }, { inputs: [normal(2, 3, 4)], attributes: { axis: 0 } }, large],
  Einsum: [
    { inputs: [normal(2, 3, 4), normal(2, 4, 5)], attributes: { equation: "bij,bjk->bik" } },
    { inputs: [normal(2, 3), normal(4, 3)], attributes: { equation: "ij, kj" } },
    { inputs: [normal(2, 3, 4), normal(3)], attributes: { equation: "abc,b->ca" } },
    { inputs: [normal(2, 3), normal(4)], attributes: { equation: "ij,k->k" } },
    { inputs: [normal(2, 3), normal(4, 3)], attributes: { equation: "ij,kj->kj" } },
    { inputs: [normal(2, 3)], attributes: { equation: "ij->" } },
  ],
  CumSum: [
    { inputs: [normal(3, 4), int64Scalar(1)] },
    { inputs: [normal(3, 4), int64Scalar(-2)], attributes: { exclusive: 1 } },
    { inputs: [normal(3, 4), int64Scalar(1)], attributes: { exclusive: 1, reverse: 1 } },
  ],
} satisfies Record<string, Forms>;
