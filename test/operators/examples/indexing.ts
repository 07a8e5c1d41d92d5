// Examples of the operators that read and write at indices.
import { type Tensor, tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Form, type Forms, int64, int64Scalar } from "./example.ts";

const { normal, random } = draw(13);
const single = (...shape: number[]): Tensor => random.tensor("float32", shape);
const elements = tensorOf("int64", [2, 3], [0, -1, 1, 2, 0, 2]);
const points = tensorOf("int64", [3, 2], [0, 1, 2, -1, 1, 0]);
const tied = tensorOf("float32", [2, 4], [1, 3, 3, 0, 2, 2, -1, 2]);
const apart = tensorOf("float64", [2, 4], [1, 3, -0.5, 0, 2, 2.5, -1, 1.5]);
const rows = tensorOf("int64", [3, 1], [0, 2, 0]);
const columns = tensorOf("int64", [2, 2], [0, 0, 1, 2]);
const bounds = tensorOf("float32", [2], [-1, 2]);

const extremes = (): Forms => [
  { inputs: [tied], attributes: { axis: 1, keepdims: 0 } },
  { inputs: [tied], attributes: { axis: -1, select_last_index: 1 } },
  { inputs: [tied] },
  { name: "the first axis dropped", inputs: [single(2, 3, 4)], attributes: { keepdims: 0 } },
];
const reductions = ["mul", "max", "min"];

export const indexingExamples = {
  Gather: [
    { name: "repeated rows", inputs: [normal(4, 3), int64(1, 1, -1)] },
    { name: "a scalar index", inputs: [normal(4, 3), int64Scalar(2)] },
    {
      name: "a matrix of indices",
      inputs: [normal(2, 4, 3), tensorOf("int64", [2, 2], [0, 3, 3, -2])],
      attributes: { axis: 1 },
    },
    { inputs: [normal(2, 4, 3), int64Scalar(1)], attributes: { axis: -1 } },
    { name: "int64", inputs: [int64(5, 6, 7), int64(2, 0)] },
  ],
  GatherElements: [
    { inputs: [normal(2, 3), elements], attributes: { axis: 1 } },
    { inputs: [normal(4, 3), elements] },
    { name: "one row", inputs: [normal(1, 3), tensorOf("int64", [1, 2], [2, 0])], attributes: { axis: 1 } },
  ],
  GatherND: [
    { name: "elements", inputs: [normal(3, 2), points] },
    { name: "slices", inputs: [normal(3, 2, 4), points] },
    {
      name: "batch",
      inputs: [single(2, 3, 4), tensorOf("int64", [2, 2, 1], [0, 2, 1, 1])],
      attributes: { batch_dims: 1 },
    },
  ],
  ScatterElements: [
    {
      inputs: [normal(2, 4), tensorOf("int64", [2, 2], [0, -1, 2, 1]), normal(2, 2)],
      attributes: { axis: 1 },
    },
    { inputs: [normal(4, 3), elements, normal(2, 3)], attributes: { reduction: "add" } },
    ...reductions.map(
      (reduction): Form => ({ inputs: [single(2, 3), columns, single(2, 2)], attributes: { axis: 1, reduction } }),
    ),
  ],
  ScatterND: [
    { inputs: [normal(3, 2, 4), points, normal(3, 4)] },
    {
      inputs: [normal(3, 2), tensorOf("int64", [2, 1], [1, 1]), normal(2, 2)],
      attributes: { reduction: "add" },
    },
    ...reductions.map((reduction): Form => ({ inputs: [single(3, 2), rows, single(3, 2)], attributes: { reduction } })),
    { name: "int64", inputs: [int64(1, 2, 3), rows, int64(5, 6, 7)], attributes: { reduction: "add" } },
  ],
  OneHot: [
    { inputs: [tensorOf("int64", [2, 2], [0, -1, 5, 2]), int64Scalar(3), bounds] },
    { inputs: [int64(1, 0), int64Scalar(2), int64(0, 1)], attributes: { axis: 0 } },
  ],
  ArgMax: extremes(),
  ArgMin: extremes(),
  TopK: [
    { inputs: [tied, int64(3)], outputs: 2 },
    { inputs: [tied, int64(1)], attributes: { axis: 0, largest: 0 }, outputs: 2 },
    { inputs: [apart, int64(3)], outputs: 2 },
    { inputs: [apart, int64(1)], attributes: { axis: 0, largest: 0 }, outputs: 2 },
  ],
  NonZero: [{ inputs: [tied] }],
} satisfies Record<string, Forms>;
