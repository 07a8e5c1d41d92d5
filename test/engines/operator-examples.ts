// Examples of ONNX operators in types, forms and sizes that engines treat differently: integers, one channel, primes, nothing.
import type { DType } from "../../src/ir/dtype.ts";
import { scalar, sizeOf, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { bool, type Example, int64, int64Scalar } from "../operators/examples/example.ts";
import { createRandom } from "../support/random.ts";

const random = createRandom(41);
const normal = (...shape: number[]): Tensor => random.tensor("float32", shape);
const positive = (...shape: number[]): Tensor => random.uniformTensor("float32", shape, 0.5, 2);
const whole = (dtype: DType, low: number, high: number, ...shape: number[]): Tensor =>
  tensorOf(
    dtype,
    shape,
    Array.from({ length: sizeOf(shape) }, () => random.integer(low, high)),
  );
const float = (value: number): Tensor => scalar("float32", value);
const ofOp =
  (op: string) =>
  (inputs: Example["inputs"], attributes: Example["attributes"] = {}, name?: string): Example => ({
    op,
    inputs,
    attributes,
    ...(name === undefined ? {} : { name }),
  });

const layerNormalization = (inputs: readonly (Tensor | undefined)[], axis: number): Example => ({
  op: "LayerNormalization",
  inputs,
  attributes: { axis, epsilon: 1e-5 },
});

const normalizations: readonly Example[] = [
  layerNormalization([normal(2, 7, 67), positive(67), normal(67)], -1),
  layerNormalization([normal(3, 5, 131), positive(131)], 2),
  layerNormalization([normal(3, 5, 11), positive(5, 11), normal(5, 11)], 1),
  layerNormalization([normal(3, 5, 11), positive(11), normal(11)], 1),
  layerNormalization([normal(1, 1), positive(1), normal(1)], -1),
  {
    op: "LayerNormalization",
    name: "with its statistics",
    inputs: [normal(6, 103), positive(103), normal(103)],
    attributes: { axis: -1 },
    outputs: 3,
  },
  { op: "InstanceNormalization", inputs: [normal(2, 3, 5, 7), positive(3), normal(3)] },
  { op: "InstanceNormalization", name: "one channel", inputs: [normal(1, 1, 101), positive(1), normal(1)] },
];

const transposed = (
  name: string,
  x: readonly number[],
  w: readonly number[],
  bias: number | undefined,
  attributes: Example["attributes"],
): Example => ({
  op: "ConvTranspose",
  name,
  inputs: [normal(...x), normal(...w), ...(bias === undefined ? [] : [normal(bias)])],
  attributes: { kernel_shape: w.slice(2), ...attributes },
});

const transposedConvolutions: readonly Example[] = [
  transposed("plain", [2, 16, 5, 4], [16, 16, 3, 3], 16, { pads: [1, 1, 1, 1] }),
  transposed("stride 2", [2, 5, 4, 3], [5, 7, 2, 2], 7, { strides: [2, 2] }),
  transposed("output padding", [1, 3, 4, 5], [3, 2, 3, 3], undefined, {
    strides: [2, 3],
    pads: [1, 1, 1, 1],
    output_padding: [1, 2],
  }),
  transposed("groups", [2, 6, 4, 4], [6, 2, 3, 3], 6, { group: 3, strides: [2, 1] }),
  transposed("dilated", [1, 1, 5, 5], [1, 1, 2, 3], 1, { dilations: [2, 2] }),
  transposed("one axis", [2, 3, 7], [3, 5, 4], 5, { strides: [3] }),
  transposed("three axes", [1, 2, 3, 2, 3], [2, 3, 2, 2, 2], 3, { strides: [2, 1, 2] }),
];

const quantize = ofOp("QuantizeLinear");
const dequantize = ofOp("DequantizeLinear");
const halfwayAvoided = (...shape: number[]): Tensor =>
  tensorOf(
    "float32",
    shape,
    Array.from({ length: sizeOf(shape) }, () => 0.125 * (random.integer(-150, 320) + random.uniform(-0.4, 0.4))),
  );

const stored: readonly Example[] = [
  quantize([halfwayAvoided(3, 41), float(0.125), scalar("uint8", 20)]),
  quantize([halfwayAvoided(3, 41), float(0.125), scalar("int8", -3)]),
  quantize([halfwayAvoided(3, 41), float(0.125)], {}, "no zero point"),
  quantize([halfwayAvoided(3, 5, 7), tensorOf("float32", [5], [0.125, 0.25, 0.5, 1, 2]), whole("int8", -5, 5, 5)], {
    axis: 1,
  }),
  quantize([halfwayAvoided(3, 41), float(0.125), scalar("int16", 7)]),
  quantize([halfwayAvoided(3, 41), float(0.125), scalar("uint16", 700)]),
  quantize([halfwayAvoided(3, 8), tensorOf("float32", [3, 2], [0.125, 0.25, 0.5, 1, 2, 4])], {
    axis: 1,
    block_size: 4,
    output_dtype: "int8",
  }),
  dequantize([whole("int8", -128, 127, 3, 41), float(0.1), scalar("int8", 3)]),
  dequantize([whole("uint8", 0, 255, 3, 5, 7), positive(5), whole("uint8", 0, 255, 5)], { axis: 1 }),
  dequantize([whole("int16", -3000, 3000, 11), float(0.01)]),
  dequantize([whole("int32", -3000, 3000, 4, 3), positive(3)], { axis: -1 }),
  dequantize([whole("int4", -8, 7, 4, 6), positive(4, 2), whole("int4", -3, 3, 4, 2)], { axis: 1, block_size: 3 }),
  dequantize([whole("uint4", 0, 15, 6, 5), positive(2, 5)], { axis: 0, block_size: 3 }),
];

const tied = tensorOf("float32", [2, 3, 4], [1, 5, 5, 2, 0, 0, -1, -1, 3, 3, 3, 3, 7, 1, 2, 7, 4, 4, 9, 9, 1, 2, 3, 4]);

const orders: readonly Example[] = [
  ...["ArgMax", "ArgMin"].flatMap((op) => [
    { op, inputs: [tied], attributes: { axis: 2, keepdims: 0 } },
    { op, inputs: [tied], attributes: { axis: 1, select_last_index: 1 } },
    { op, name: "integers", inputs: [whole("int64", -9, 9, 5, 7)], attributes: { axis: 0 } },
  ]),
  { op: "TopK", inputs: [normal(3, 17), int64(5)], outputs: 2 },
  {
    op: "TopK",
    name: "smallest",
    inputs: [normal(5, 4, 3), int64(2)],
    attributes: { axis: 1, largest: 0 },
    outputs: 2,
  },
  { op: "TopK", name: "ties", inputs: [tied, int64(4)], outputs: 2 },
  { op: "TopK", name: "integers", inputs: [whole("int64", -99, 99, 11), int64(11)], outputs: 2 },
  { op: "CumSum", name: "integers", inputs: [whole("int64", -9, 9, 5, 7), int64Scalar(0)] },
  { op: "CumSum", name: "a mask", inputs: [whole("int32", 0, 1, 2, 13), int64Scalar(-1)] },
  { op: "Trilu", name: "integers", inputs: [whole("int64", 1, 9, 5, 7)], attributes: { upper: 0 } },
  { op: "Trilu", name: "beyond the corner", inputs: [normal(3, 3), int64Scalar(4)] },
];

const integerOps: readonly Example[] = [
  ...["Add", "Sub", "Mul", "Max", "Min"].map((op) =>
    ofOp(op)([whole("int64", -99, 99, 3, 1, 5), whole("int64", -99, 99, 7, 1)], {}, "int64"),
  ),
  ofOp("Add")([whole("int32", -99, 99, 3, 5), whole("int32", -99, 99, 3, 5)], {}, "int32"),
  ofOp("Div")([whole("int64", -99, 99, 31), whole("int64", 1, 9, 31)], {}, "int64, cut towards zero"),
  ofOp("Mod")([whole("int64", -99, 99, 31), tensorOf("int64", [], [-7])], {}, "int64, the divisor's sign"),
  ofOp("Mod")([whole("int64", -99, 99, 31), tensorOf("int64", [], [-7])], { fmod: 1 }, "int64, the dividend's sign"),
  ofOp("Pow")([whole("int64", -9, 9, 11), tensorOf("int64", [], [3])], {}, "int64"),
  ofOp("Pow")([whole("int64", 2, 9, 3), tensorOf("float32", [3], [0.5, -1.5, 2.5])], {}, "int64 to a fraction"),
  ...["Neg", "Abs", "Sign"].map((op) => ofOp(op)([whole("int64", -9, 9, 5, 3)], {}, "int64")),
  ofOp("Clip")([whole("int64", -99, 99, 23), tensorOf("int64", [], [-20]), tensorOf("int64", [], [30])], {}, "int64"),
  ...["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"].flatMap((op) => [
    ofOp(op)([whole("int64", 0, 3, 5, 7), whole("int64", 0, 3, 7)], {}, "int64"),
    ofOp(op)([normal(5, 1), normal(7)], {}, "float32"),
  ]),
  ofOp("Equal")([whole("bool", 0, 1, 13), whole("bool", 0, 1, 13)], {}, "bool"),
  ...["And", "Or", "Xor"].map((op) => ofOp(op)([whole("bool", 0, 1, 5, 7), whole("bool", 0, 1, 7)])),
  ofOp("Not")([whole("bool", 0, 1, 5, 7)]),
  ofOp("IsNaN")([tensorOf("float32", [5], [0, Number.NaN, 1, Number.POSITIVE_INFINITY, Number.NaN])]),
  ofOp("Where")([bool([2, 1], [1, 0]), whole("int64", -9, 9, 2, 5), whole("int64", -9, 9, 5)], {}, "int64"),
  ofOp("Where")([bool([2, 1], [1, 0]), whole("uint8", 0, 9, 2, 5), whole("uint8", 0, 9, 5)], {}, "uint8"),
  ...["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"].map((op) =>
    ofOp(op)([whole("int64", -3, 3, 3, 5, 2), int64(0, 2)], { keepdims: 0 }, "int64"),
  ),
  ...["BitwiseAnd", "BitwiseOr", "BitwiseXor"].flatMap((op) => [
    ofOp(op)([whole("int64", -99, 99, 5, 7), whole("int64", -99, 99, 7)], {}, "int64"),
    ofOp(op)([whole("uint8", 0, 255, 11), whole("uint8", 0, 255, 11)], {}, "uint8"),
  ]),
  ofOp("BitwiseNot")([whole("int32", -99, 99, 11)]),
  ofOp("BitShift")([whole("uint32", 0, 99, 11), whole("uint32", 0, 9, 11)], { direction: "LEFT" }),
  ofOp("BitShift")([whole("uint8", 0, 255, 11), whole("uint8", 0, 7, 11)], { direction: "RIGHT" }),
  ofOp("IsInf")([tensorOf("float32", [4], [0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])]),
  ofOp("IsInf")([tensorOf("float32", [3], [1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])], {
    detect_negative: 0,
  }),
  ofOp("OneHot")([whole("int64", -4, 4, 7), int64Scalar(5), int64(3, 9)], {}, "int64"),
  ofOp("Mean")([normal(3, 5), normal(5), normal(3, 1)]),
];

const castTypes: readonly DType[] = [
  ...(["float32", "float64", "int8", "uint8", "int16", "uint16"] as const),
  ...(["int32", "uint32", "int64", "uint64", "bool"] as const),
];
/** From each type to the next and to float32, and from float32 to each. */
const casts: readonly Example[] = castTypes
  .flatMap((from, i) => [
    [from, castTypes[(i + 1) % castTypes.length]] as const,
    [from, "float32"] as const,
    ["float32", from] as const,
  ])
  .filter(([from, to]) => from !== to)
  .map(([from, to]) => ofOp("Cast")([whole(from, 0, from === "bool" ? 1 : 99, 19)], { to }, `from ${from}`));

const scatterReductions: readonly Example[] = ["none", "add", "mul", "max", "min"].flatMap((reduction) => [
  ofOp("ScatterElements")(
    [normal(5, 7), tensorOf("int64", [3, 2], [4, 0, 1, -1, 1, 3]), normal(3, 2)],
    ...[{ reduction, axis: 0 }],
  ),
  ofOp("ScatterND")([normal(5, 3, 7), tensorOf("int64", [2, 2], [4, 0, 1, -1]), normal(2, 7)], { reduction }),
]);

const indexing: readonly Example[] = [
  ...scatterReductions,
  ofOp("ScatterND")([normal(41, 13), tensorOf("int64", [7, 1], [3, 3, 0, 40, 3, 17, -1]), normal(7, 13)], {
    reduction: "add",
  }),
  ofOp("ScatterND")([whole("int64", 0, 9, 6), tensorOf("int64", [2, 1], [5, 0]), int64(11, 12)], {}, "integers"),
  ofOp("ScatterElements")([whole("bool", 0, 1, 6), int64(5, 0), bool([2], [1, 1])], {}, "bool"),
  ofOp("GatherND")([normal(2, 3, 5), tensorOf("int64", [2, 4, 1], [0, 2, -1, 1, 1, 1, 0, 2])], { batch_dims: 1 }),
  ofOp("GatherND")([whole("int64", 0, 99, 5, 3), tensorOf("int64", [2, 1], [4, 0])], {}, "integers"),
  ofOp("Gather")([normal(11, 7), whole("int32", 0, 10, 3, 5)], {}, "int32 indices"),
  ofOp("Gather")([normal(11, 7), int64()], {}, "no rows"),
  ofOp("GatherElements")([whole("int64", 0, 99, 3, 5), tensorOf("int64", [3, 2], [4, 0, 1, -1, 1, 3])], { axis: 1 }),
];

const rearrangements: readonly Example[] = [
  ofOp("Tile")([normal(2, 3, 5), int64(2, 1, 3)]),
  ofOp("Tile")([whole("int64", 0, 9, 3), int64(4)], {}, "integers"),
  ofOp("Tile")([normal(2, 3), int64(1, 1)], {}, "once"),
  ofOp("Tile")([normal(1, 2, 1, 3, 2), int64(2, 2, 2, 2, 2)], {}, "five axes"),
  ofOp("Pad")([normal(2, 3, 5, 7), int64(0, 0, 2, 1, 0, 0, 1, 3)], { mode: "reflect" }),
  ofOp("Pad")([normal(3, 5), int64(2, 1, 1, 3)], { mode: "edge" }),
  ofOp("Pad")([whole("int64", 0, 9, 5), int64(2, 3), int64Scalar(7)], {}, "integers"),
  ofOp("Resize")([normal(1, 1, 3, 5), undefined, tensorOf("float32", [4], [1, 1, 2, 2])], {
    mode: "linear",
    coordinate_transformation_mode: "align_corners",
  }),
  ofOp("ConstantOfShape")([int64(3, 5)], { value: int64(7) }),
  ofOp("Range")([int64Scalar(3), int64Scalar(20), int64Scalar(4)]),
  ofOp("Concat")([whole("int64", 0, 9, 3), whole("int64", 0, 9, 2)], { axis: 0 }, "integers"),
  ofOp("Transpose")([normal(2, 5, 3, 7)], { perm: [0, 2, 1, 3] }),
  ofOp("Transpose")([whole("bool", 0, 1, 5, 7)], {}, "bool"),
];

const wide = [7, 131, 67];
const reductions: readonly Example[] = [
  ...[[0], [1], [2], [0, 1], [1, 2], [0, 2], [0, 1, 2]].map((axes) =>
    ofOp("ReduceSum")([positive(...wide), int64(...axes)], { keepdims: 0 }, `axes ${axes}`),
  ),
  ..."Mean Max Min SumSquare L1 L2 LogSumExp"
    .split(" ")
    .flatMap((name) =>
      [[1], [0, 2]].map((axes) =>
        ofOp(`Reduce${name}`)([normal(...wide), int64(...axes)], { keepdims: 0 }, `axes ${axes}`),
      ),
    ),
  ofOp("ReduceSum")([positive(9001), int64(0)], {}, "one row"),
  ofOp("ReduceSum")([positive(4999, 3), int64(0)], {}, "few columns"),
  ofOp("ReduceMean")([normal(2, 1, 5, 7), int64(0, 2, 3)], {}, "one channel"),
  ofOp("Softmax")([normal(3, 257)]),
  ofOp("Softmax")([normal(1, 1)]),
  ofOp("Softmax")([tensorOf("float32", [2, 3], [-Infinity, 1, 2, 1e4, -1e4, 9999])], {}, "far apart"),
  ofOp("Softmax")([normal(2, 5, 3, 7)], { axis: 1 }),
  ofOp("LogSoftmax")([normal(3, 257)]),
];

const equations: readonly (readonly [equation: string, ...shapes: number[][]])[] = [
  ["bhid,bhjd->bhij", [2, 3, 5, 7], [2, 3, 11, 7]],
  ["bhij,bhjd->bihd", [2, 3, 5, 7], [2, 3, 7, 11]],
  ["bthd,hdo->bto", [2, 5, 3, 7], [3, 7, 11]],
  ["ij,jk", [5, 7], [7, 3]],
  ["ii->i", [5, 5]],
  ["ii", [5, 5]],
  ["i,j,k->kij", [3], [5], [2]],
  ["bij,bj->i", [2, 3, 5], [2, 5]],
  ["ij->ji", [3, 5]],
  ["bij,bjk->bik", [1, 3, 5], [2, 5, 7]],
];
const einsums = equations.map(([equation, ...shapes]) =>
  ofOp("Einsum")(
    shapes.map((shape) => normal(...shape)),
    { equation },
  ),
);

const products: readonly Example[] = [
  ofOp("MatMul")([normal(2, 3, 5, 7), normal(7, 11)]),
  ofOp("MatMul")([normal(2, 1, 5, 7), normal(3, 7, 1)]),
  ofOp("MatMul")([normal(7), normal(3, 7, 5)]),
  ofOp("MatMul")([normal(1, 131), normal(131, 67)]),
  ofOp("MatMul")([normal(131, 67), normal(67)]),
  ofOp("Gemm")([normal(1, 31), normal(17, 31), normal(17)], { transB: 1 }),
  ofOp("Gemm")([normal(31, 7), normal(31, 1)], { transA: 1, alpha: 0.5 }),
];

const pools: readonly Example[] = [
  {
    op: "MaxPool",
    name: "with indices",
    inputs: [normal(2, 3, 7, 8)],
    attributes: { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1] },
    outputs: 2,
  },
  {
    op: "MaxPool",
    name: "one axis, with indices",
    inputs: [normal(1, 1, 11)],
    attributes: { kernel_shape: [2] },
    outputs: 2,
  },
];

export const operatorExamples: readonly Example[] = [
  ...normalizations,
  ...transposedConvolutions,
  ...stored,
  ...orders,
  ...integerOps,
  ...casts,
  ...indexing,
  ...rearrangements,
  ...reductions,
  ...einsums,
  ...products,
  ...pools,
];
