// Examples of the differentiable operators that move, copy and cut.
import { draw, type Example, int64, int64Scalar } from "./example.ts";

const { normal } = draw(12);

export const shapeExamples: readonly Example[] = [
  { op: "Reshape", name: "0 and -1", inputs: [normal(2, 3, 4), int64(0, -1)] },
  { op: "Reshape", name: "all sizes", inputs: [normal(2, 3, 4), int64(4, 6)], attributes: { allowzero: 1 } },
  { op: "Flatten", inputs: [normal(2, 3, 4)] },
  { op: "Flatten", inputs: [normal(2, 3, 4)], attributes: { axis: -1 } },
  { op: "Flatten", inputs: [normal(2, 3, 4)], attributes: { axis: 3 } },
  { op: "Squeeze", name: "axes", inputs: [normal(2, 1, 3, 1), int64(-1)] },
  { op: "Squeeze", name: "all ones", inputs: [normal(2, 1, 3, 1)] },
  { op: "Unsqueeze", inputs: [normal(2, 3), int64(3, 0, -3)] },
  { op: "Transpose", inputs: [normal(2, 3, 4)] },
  { op: "Transpose", inputs: [normal(2, 3, 4)], attributes: { perm: [1, 2, 0] } },
  { op: "Expand", inputs: [normal(3, 1), int64(2, 1, 4)] },
  { op: "Tile", inputs: [normal(2, 3), int64(3, 2)] },
  { op: "Concat", inputs: [normal(2, 1, 3), normal(2, 4, 3), normal(2, 2, 3)], attributes: { axis: -2 } },
  {
    op: "Split",
    name: "sizes",
    inputs: [normal(2, 7), int64(4, 2, 1)],
    attributes: { axis: 1 },
    outputs: 3,
    cotangents: [0, 2],
  },
  {
    op: "Split",
    name: "uneven",
    inputs: [normal(7, 2)],
    attributes: { num_outputs: 3 },
    outputs: 3,
    cotangents: [0, 1, 2],
  },
  { op: "Pad", name: "value", inputs: [normal(2, 3), int64(0, 2, 1, 1), normal()] },
  { op: "Pad", name: "axes", inputs: [normal(2, 3, 2), int64(1, 2), undefined, int64(-2)] },
  { op: "Pad", inputs: [normal(1, 3, 4, 3), int64(0, 0, 2, 1, 0, 0, 3, 2)], attributes: { mode: "reflect" } },
  ...["edge", "wrap"].map((mode) => ({
    op: "Pad",
    inputs: [normal(3, 4), int64(2, 3, 1, 4)],
    attributes: { mode },
  })),
  { op: "Pad", name: "negative pads", inputs: [normal(4, 5), int64(-1, 2, 0, -2)] },
  { op: "Slice", name: "negative step", inputs: [normal(5, 6), int64(1, -1), int64(4, -7), int64(0, 1), int64(1, -2)] },
  { op: "Slice", name: "defaults", inputs: [normal(5, 6), int64(-3), int64(1000)] },
  { op: "Slice", name: "nothing left", inputs: [normal(5, 6), int64(3), int64(2)] },
  {
    op: "SliceGradient",
    inputs: [normal(2, 3)],
    attributes: { starts: [1, 5], ends: [4, -7], axes: [0, 1], steps: [2, -2], shape: [5, 6] },
  },
  { op: "DepthToSpace", inputs: [normal(1, 8, 2, 3)], attributes: { blocksize: 2 } },
  { op: "DepthToSpace", inputs: [normal(2, 9, 2, 1)], attributes: { blocksize: 3, mode: "CRD" } },
  { op: "SpaceToDepth", inputs: [normal(2, 2, 4, 6)], attributes: { blocksize: 2 } },
  { op: "Trilu", inputs: [normal(2, 3, 4)] },
  { op: "Trilu", name: "below a diagonal", inputs: [normal(4, 3), int64Scalar(-1)], attributes: { upper: 0 } },
];
