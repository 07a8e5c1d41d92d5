// Examples of Resize in all of its modes.
import { type Tensor, tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Form, type Forms, int64 } from "./example.ts";

const { normal } = draw(15);
const scales = (...values: number[]): Tensor => tensorOf("float32", [values.length], values);
const coordinateModes = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"];
const nearestModes = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"];

const nearest = coordinateModes.flatMap((coordinate_transformation_mode) =>
  nearestModes.flatMap((nearest_mode): Form[] => [
    {
      name: "up and down by scales",
      inputs: [normal(1, 2, 4, 5), undefined, scales(1, 1, 2, 0.6)],
      attributes: { mode: "nearest", coordinate_transformation_mode, nearest_mode },
    },
    {
      name: "to sizes",
      inputs: [normal(1, 2, 3, 5), undefined, undefined, int64(1, 2, 7, 3)],
      attributes: { mode: "nearest", coordinate_transformation_mode, nearest_mode },
    },
  ]),
);

const linear = coordinateModes.flatMap((coordinate_transformation_mode): Form[] => [
  {
    name: "up and down by scales",
    inputs: [normal(1, 2, 4, 5), undefined, scales(1, 1, 2.5, 0.6)],
    attributes: { mode: "linear", coordinate_transformation_mode },
  },
  {
    name: "to sizes",
    inputs: [normal(2, 1, 3, 5), undefined, undefined, int64(2, 1, 1, 8)],
    attributes: { mode: "linear", coordinate_transformation_mode },
  },
]);

const cubic = [
  {},
  { exclude_outside: 1 },
  { cubic_coeff_a: -0.5 },
  { coordinate_transformation_mode: "align_corners" },
].map(
  (attributes): Form => ({
    name: "up and down by scales",
    inputs: [normal(1, 2, 6, 5), undefined, scales(1, 1, 0.6, 2.5)],
    attributes: { mode: "cubic", ...attributes },
  }),
);

const others: Forms = [
  {
    name: "some axes",
    inputs: [normal(1, 2, 3, 4), undefined, undefined, int64(6, 8)],
    attributes: { mode: "linear", axes: [2, 3] },
  },
  {
    name: "a region that leaves the input",
    inputs: [
      normal(1, 1, 4, 4),
      tensorOf("float32", [8], [0, 0, 0.4, -0.2, 1, 1, 1.2, 0.8]),
      undefined,
      int64(1, 1, 3, 5),
    ],
    attributes: { mode: "linear", coordinate_transformation_mode: "tf_crop_and_resize", extrapolation_value: 0 },
  },
];

export const resizeExamples = { Resize: [...others, ...nearest, ...linear, ...cubic] } satisfies Record<string, Forms>;
