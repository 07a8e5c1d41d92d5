// Examples of the operators that move, copy, cut and make values.
import { type Tensor, tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Form, type Forms, int64, int64Scalar } from "./example.ts";

const { normal, random } = draw(12);
const single = (...shape: number[]): Tensor => random.tensor("float32", shape);

export const shapeExamples = {
  Shape: [{ inputs: [single(2, 3, 4)] }, { inputs: [single(2, 3, 4)], attributes: { start: -2, end: 100 } }],
  Size: [{ inputs: [single(2, 3, 4)] }],
  Reshape: [
    { name: "0 and -1", inputs: [normal(2, 3, 4), int64(0, -1)] },
    { name: "all sizes", inputs: [normal(2, 3, 4), int64(4, 6)], attributes: { allowzero: 1 } },
    { name: "sizes exchanged", inputs: [normal(2, 3), int64(3, -1)] },
  ],
  Flatten: [
    { inputs: [normal(2, 3, 4)] },
    { inputs: [normal(2, 3, 4)], attributes: { axis: -1 } },
    { inputs: [normal(2, 3, 4)], attributes: { axis: 3 } },
  ],
  Squeeze: [
    { name: "axes", inputs: [normal(2, 1, 3, 1), int64(-1)] },
    { name: "all ones", inputs: [normal(2, 1, 3, 1)] },
  ],
  Unsqueeze: [{ inputs: [normal(2, 3), int64(3, 0, -3)] }],
  Transpose: [{ inputs: [normal(2, 3, 4)] }, { inputs: [normal(2, 3, 4)], attributes: { perm: [1, 2, 0] } }],
  Expand: [{ inputs: [normal(3, 1), int64(2, 1, 4)] }, { name: "fewer axes", inputs: [single(2, 3), int64(3)] }],
  Tile: [{ inputs: [normal(2, 3), int64(3, 2)] }, { name: "one axis", inputs: [normal(2, 3), int64(1, 2)] }],
  Concat: [
    { inputs: [normal(2, 1, 3), normal(2, 4, 3), normal(2, 2, 3)], attributes: { axis: -2 } },
    { name: "int64", inputs: [int64(1, 2), int64(3)], attributes: { axis: 0 } },
  ],
  Split: [
    {
      name: "sizes",
      inputs: [normal(2, 7), int64(4, 2, 1)],
      attributes: { axis: 1 },
      outputs: 3,
      cotangents: [0, 2],
    },
    { name: "uneven", inputs: [normal(7, 2)], attributes: { num_outputs: 3 }, outputs: 3, cotangents: [0, 1, 2] },
  ],
  Pad: [
    { name: "value", inputs: [normal(2, 3), int64(0, 2, 1, 1), normal()] },
    { name: "axes", inputs: [normal(2, 3, 2), int64(1, 2), undefined, int64(-2)] },
    { inputs: [normal(1, 3, 4, 3), int64(0, 0, 2, 1, 0, 0, 3, 2)], attributes: { mode: "reflect" } },
    ...["edge", "wrap"].map((mode): Form => ({ inputs: [normal(3, 4), int64(2, 3, 1, 4)], attributes: { mode } })),
    { name: "negative pads", inputs: [normal(4, 5), int64(-1, 2, 0, -2)] },
    { name: "int64", inputs: [int64(1, 2), int64(1, 2), int64Scalar(7)] },
  ],
  ConstantOfShape: [
    { inputs: [int64(2, 3)] },
    { inputs: [int64(2, 0)], attributes: { value: int64(5) } },
    { inputs: [int64(3)], attributes: { value: int64(5) } },
  ],
  Constant: [
    { inputs: [], attributes: { value: single(2, 2) } },
    { inputs: [], attributes: { value_float: 0.5 } },
    { inputs: [], attributes: { value_ints: [3, -1] } },
    { inputs: [], attributes: { value_int: 3 } },
    { inputs: [], attributes: { value_floats: [3.5, -1] } },
  ],
  Range: [
    { inputs: [int64Scalar(2), int64Scalar(11), int64Scalar(3)] },
    { name: "backwards", inputs: [1, -1, -0.5].map((value) => tensorOf("float32", [], [value])) },
  ],
  Slice: [
    { name: "negative step", inputs: [normal(5, 6), int64(1, -1), int64(4, -7), int64(0, 1), int64(1, -2)] },
    { name: "defaults", inputs: [normal(5, 6), int64(-3), int64(1000)] },
    { name: "nothing left", inputs: [normal(5, 6), int64(3), int64(2)] },
    { name: "reversed", inputs: [normal(3, 4), int64(-1), int64(-(2 ** 31)), int64(0), int64(-1)] },
  ],
  SliceGradient: [
    {
      inputs: [normal(2, 3)],
      attributes: { starts: [1, 5], ends: [4, -7], axes: [0, 1], steps: [2, -2], shape: [5, 6] },
    },
  ],
  DepthToSpace: [
    { inputs: [normal(1, 8, 2, 3)], attributes: { blocksize: 2 } },
    { inputs: [normal(2, 9, 2, 1)], attributes: { blocksize: 3, mode: "CRD" } },
  ],
  SpaceToDepth: [{ inputs: [normal(2, 2, 4, 6)], attributes: { blocksize: 2 } }],
  Trilu: [
    { inputs: [normal(2, 3, 4)] },
    { name: "below a diagonal", inputs: [normal(4, 3), int64Scalar(-1)], attributes: { upper: 0 } },
  ],
} satisfies Record<string, Forms>;
