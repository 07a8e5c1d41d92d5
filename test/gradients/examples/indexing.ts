// Examples of the differentiable operators that read and write at indices.
import { tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Example, int64, int64Scalar } from "./example.ts";

const { normal } = draw(13);
const elements = tensorOf("int64", [2, 3], [0, -1, 1, 2, 0, 2]);
const points = tensorOf("int64", [3, 2], [0, 1, 2, -1, 1, 0]);

export const indexingExamples: readonly Example[] = [
  { op: "Gather", name: "repeated rows", inputs: [normal(4, 3), int64(1, 1, -1)] },
  { op: "Gather", name: "a scalar index", inputs: [normal(4, 3), int64Scalar(2)] },
  {
    op: "Gather",
    name: "a matrix of indices",
    inputs: [normal(2, 4, 3), tensorOf("int64", [2, 2], [0, 3, 3, -2])],
    attributes: { axis: 1 },
  },
  { op: "Gather", inputs: [normal(2, 4, 3), int64Scalar(1)], attributes: { axis: -1 } },
  { op: "GatherElements", inputs: [normal(2, 3), elements], attributes: { axis: 1 } },
  { op: "GatherElements", inputs: [normal(4, 3), elements] },
  { op: "GatherND", name: "elements", inputs: [normal(3, 2), points] },
  { op: "GatherND", name: "slices", inputs: [normal(3, 2, 4), points] },
  {
    op: "ScatterElements",
    inputs: [normal(2, 4), tensorOf("int64", [2, 2], [0, -1, 2, 1]), normal(2, 2)],
    attributes: { axis: 1 },
  },
  { op: "ScatterElements", inputs: [normal(4, 3), elements, normal(2, 3)], attributes: { reduction: "add" } },
  { op: "ScatterND", inputs: [normal(3, 2, 4), points, normal(3, 4)] },
  {
    op: "ScatterND",
    inputs: [normal(3, 2), tensorOf("int64", [2, 1], [1, 1]), normal(2, 2)],
    attributes: { reduction: "add" },
  },
];
