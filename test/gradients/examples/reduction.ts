// Examples of the reductions.
import { tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Example, int64, int64Scalar } from "./example.ts";

const { normal } = draw(14);
const reductions = ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp"].map(
  (name) => `Reduce${name}`,
);

const forms = (op: string): readonly Example[] => [
  { op, name: "everything", inputs: [normal(2, 3, 4)], attributes: { keepdims: 0 } },
  { op, name: "two axes", inputs: [normal(2, 3, 4), int64(-1, 0)], attributes: { keepdims: 0 } },
  { op, name: "one axis kept", inputs: [normal(2, 3, 4), int64(1)] },
];

export const reductionExamples: readonly Example[] = [
  ...reductions.flatMap(forms),
  { op: "ReduceSum", name: "no axes", inputs: [normal(2, 3)], attributes: { noop_with_empty_axes: 1 } },
  { op: "ReduceProd", name: "zeros", inputs: [tensorOf("float64", [3, 3], [1, 0, 2, 0, 0, 3, 2, 4, 5]), int64(1)] },
  { op: "Softmax", inputs: [normal(3, 4)] },
  { op: "Softmax", inputs: [normal(2, 3, 4)], attributes: { axis: 1 } },
  { op: "LogSoftmax", inputs: [normal(3, 4)] },
  { op: "LogSoftmax", inputs: [normal(2, 3, 4)], attributes: { axis: 0 } },
  { op: "Einsum", inputs: [normal(2, 3, 4), normal(2, 4, 5)], attributes: { equation: "bij,bjk->bik" } },
  { op: "Einsum", inputs: [normal(2, 3), normal(4, 3)], attributes: { equation: "ij, kj" } },
  { op: "Einsum", inputs: [normal(2, 3, 4), normal(3)], attributes: { equation: "abc,b->ca" } },
  { op: "Einsum", inputs: [normal(2, 3), normal(4)], attributes: { equation: "ij,k->k" } },
  { op: "Einsum", inputs: [normal(2, 3)], attributes: { equation: "ij->" } },
  { op: "CumSum", inputs: [normal(3, 4), int64Scalar(1)] },
  { op: "CumSum", inputs: [normal(3, 4), int64Scalar(-2)], attributes: { exclusive: 1 } },
  { op: "CumSum", inputs: [normal(3, 4), int64Scalar(1)], attributes: { exclusive: 1, reverse: 1 } },
];
