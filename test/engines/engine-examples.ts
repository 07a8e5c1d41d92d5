// Examples of our own operators, in the sizes that engines treat differently: whole blocks of channels and not, strides, rows.
import { scalar, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { scaleShape } from "../../src/ops/granularity.ts";
import { type Example, int64 } from "../operators/examples/example.ts";
import { createRandom } from "../support/random.ts";
import { operatorExamples } from "./operator-examples.ts";

const random = createRandom(40);
const normal = (...shape: number[]): Tensor => random.tensor("float32", shape);
const positive = (...shape: number[]): Tensor => random.uniformTensor("float32", shape, 0.5, 2);
const float = (value: number): Tensor => scalar("float32", value);

interface Geometry {
  readonly name: string;
  readonly batch: number;
  readonly channels: readonly [from: number, to: number];
  readonly spatial: readonly number[];
  readonly kernel: readonly number[];
  readonly strides?: readonly number[];
  readonly dilations?: readonly number[];
  readonly pads?: readonly number[];
  readonly group?: number;
}

const geometries: readonly Geometry[] = [
  { name: "whole blocks", batch: 16, channels: [16, 32], spatial: [6, 5], kernel: [3, 3], pads: [1, 1, 1, 1] },
  { name: "few input channels", batch: 16, channels: [3, 16], spatial: [7, 7], kernel: [3, 3], pads: [1, 1, 1, 1] },
  {
    name: "stride 2",
    batch: 16,
    channels: [16, 32],
    spatial: [8, 8],
    kernel: [3, 3],
    strides: [2, 2],
    pads: [1, 1, 1, 1],
  },
  { name: "stride 2 of 1×1", batch: 16, channels: [32, 16], spatial: [7, 8], kernel: [1, 1], strides: [2, 2] },
  {
    name: "stride 2 from 3 channels",
    batch: 32,
    channels: [3, 16],
    spatial: [9, 9],
    kernel: [5, 5],
    strides: [2, 2],
    pads: [2, 2, 2, 2],
  },
  {
    name: "stride 3 by 2",
    batch: 16,
    channels: [16, 16],
    spatial: [11, 9],
    kernel: [4, 3],
    strides: [3, 2],
    pads: [1, 0, 2, 1],
  },
  {
    name: "dilated",
    batch: 16,
    channels: [16, 16],
    spatial: [9, 8],
    kernel: [3, 2],
    dilations: [2, 3],
    pads: [2, 1, 2, 2],
  },
  {
    name: "dilated and strided",
    batch: 16,
    channels: [16, 16],
    spatial: [9, 9],
    kernel: [3, 3],
    dilations: [2, 2],
    strides: [2, 2],
    pads: [2, 2, 2, 2],
  },
  {
    name: "channels that fill no block",
    batch: 16,
    channels: [16, 21],
    spatial: [5, 5],
    kernel: [3, 3],
    pads: [1, 1, 1, 1],
  },
  { name: "odd sizes", batch: 3, channels: [5, 7], spatial: [6, 5], kernel: [3, 2], pads: [1, 0, 1, 1] },
  {
    name: "pads wider than the kernel",
    batch: 16,
    channels: [16, 16],
    spatial: [4, 4],
    kernel: [2, 2],
    pads: [2, 2, 2, 2],
  },
  {
    name: "groups",
    batch: 2,
    channels: [6, 9],
    spatial: [6, 6],
    kernel: [3, 3],
    group: 3,
    strides: [2, 1],
    pads: [1, 1, 1, 1],
  },
  { name: "depthwise", batch: 16, channels: [16, 16], spatial: [6, 6], kernel: [3, 3], group: 16, pads: [1, 1, 1, 1] },
  {
    name: "depthwise and strided",
    batch: 2,
    channels: [32, 32],
    spatial: [7, 6],
    kernel: [3, 3],
    group: 32,
    strides: [2, 2],
    pads: [1, 1, 1, 1],
  },
  {
    name: "groups without stride",
    batch: 2,
    channels: [6, 9],
    spatial: [6, 6],
    kernel: [3, 2],
    group: 3,
    pads: [1, 1, 1, 0],
  },
  { name: "one channel", batch: 1, channels: [1, 1], spatial: [5, 7], kernel: [3, 3], pads: [1, 1, 1, 1] },
  { name: "one image", batch: 1, channels: [16, 32], spatial: [9, 8], kernel: [3, 3], pads: [1, 1, 1, 1] },
  { name: "one image of one pixel", batch: 1, channels: [17, 13], spatial: [1, 1], kernel: [1, 1] },
  {
    name: "primes",
    batch: 5,
    channels: [13, 17],
    spatial: [11, 7],
    kernel: [5, 3],
    strides: [3, 2],
    pads: [2, 1, 2, 1],
  },
  { name: "one axis", batch: 4, channels: [3, 5], spatial: [12], kernel: [3], strides: [2], pads: [1, 1] },
  { name: "three axes", batch: 2, channels: [2, 3], spatial: [4, 5, 3], kernel: [2, 3, 2], strides: [1, 2, 1] },
];

function sizesAfter({ spatial, kernel, strides, dilations, pads }: Geometry): number[] {
  return spatial.map((size, axis) => {
    const padding = pads ? pads[axis] + pads[axis + spatial.length] : 0;
    const span = (kernel[axis] - 1) * (dilations?.[axis] ?? 1) + 1;
    return Math.floor((size + padding - span) / (strides?.[axis] ?? 1)) + 1;
  });
}

function convolutions(geometry: Geometry): Example[] {
  const { name, batch, channels, spatial, kernel, group = 1 } = geometry;
  const ones = kernel.map(() => 1);
  const attributes = {
    kernel_shape: kernel,
    strides: geometry.strides ?? ones,
    dilations: geometry.dilations ?? ones,
    pads: geometry.pads ?? [...ones, ...ones].map(() => 0),
    group,
  };
  const x = normal(batch, channels[0], ...spatial);
  const w = normal(channels[1], channels[0] / group, ...kernel);
  const dy = normal(batch, channels[1], ...sizesAfter(geometry));
  const rows = [...new Set([channels[1] - 1, 0, 2])].filter((row) => row < channels[1]);
  return [
    { op: "Conv", name, inputs: [x, w, normal(channels[1])], attributes },
    { op: "ConvGradientInput", name, inputs: [dy, w], attributes: { ...attributes, spatial } },
    { op: "ConvGradientWeight", name, inputs: [dy, x], attributes },
    { op: "ConvGradientWeight", name: `${name}, rows`, inputs: [dy, x, int64(...rows)], attributes },
    { op: "ConvGradientWeight", name: `${name}, no rows`, inputs: [dy, x, int64()], attributes },
  ];
}

const bounds = (low: number, high: number): Tensor[] => [float(low), float(high)];

/** Away from the ties of rounding, where float32 engines may differ. */
function untied(shape: readonly number[], scale: number): Tensor {
  const size = shape.reduce((product, each) => product * each, 1);
  const values = Array.from({ length: size }, () => (random.integer(-150, 320) + random.uniform(-0.4, 0.4)) * scale);
  return tensorOf("float32", shape, values);
}

const quantizers: readonly Example[] = [
  ["8 bits", [4, 16, 10, 10], 0, 255, 20.3],
  ["8 bits, small", [3, 5], 0, 255, 20.3],
  ["4 bits", [4, 16, 10, 10], 0, 15, 7.2],
  ["signed 8 bits", [4, 16, 10, 10], -128, 127, -3.4],
  ["restricted 8 bits without zero point", [4, 16, 10, 10], -127, 127, undefined],
  ["a zero point above all integers", [4, 16, 10, 10], 0, 255, 300.2],
  ["a zero point below all integers", [4, 16, 10, 10], 0, 15, -30],
  ["odd length", [41, 103], 0, 15, 3],
  ["wider than 8 bits", [41, 103], 0, 1023, 300],
].flatMap(([name, shape, low, high, z]) => {
  const x = untied(shape as number[], 0.125);
  const qparams = [
    float(0.125),
    z === undefined ? undefined : float(z as number),
    ...bounds(low as number, high as number),
  ];
  return [
    { op: "FakeQuantize", name: name as string, inputs: [x, ...qparams] },
    {
      op: "FakeQuantizeGradient",
      name: name as string,
      inputs: [normal(...(shape as number[])), x, ...qparams],
      outputs: 3,
    },
  ];
});

const perChannel = (axis: number, zeroPoint: boolean): Example[] => {
  const shape = [6, 5, 3, 3];
  const x = normal(...shape);
  const scale = random.uniformTensor("float32", [shape[axis]], 0.2, 0.6);
  const qparams = [
    scale,
    zeroPoint ? random.uniformTensor("float32", [shape[axis]], -9, 9) : undefined,
    ...bounds(-3, 3),
  ];
  const rows = int64(3, 0);
  const name = `axis ${axis}${zeroPoint ? " with zero points" : ""}`;
  return [
    { op: "FakeQuantize", name, inputs: [x, ...qparams], attributes: { axis } },
    { op: "FakeQuantizeGradient", name, inputs: [normal(...shape), x, ...qparams], attributes: { axis }, outputs: 3 },
    {
      op: "FakeQuantizeGradient",
      name: `${name}, rows`,
      inputs: [normal(...shape.with(axis, 2)), x, ...qparams, rows],
      attributes: { axis },
      outputs: 3,
    },
    {
      op: "FakeQuantizeGradient",
      name: `${name}, no rows`,
      inputs: [normal(...shape.with(axis, 0)), x, ...qparams, int64()],
      attributes: { axis },
      outputs: 3,
    },
  ];
};

/** Shapes with the groups' axis, what of the scale's sizes is 1 for all, and the axis along which rows lie. */
const groupings = [
  { what: "a MatMul's weight", shape: [40, 6], axis: 0, rowAxis: 1 },
  { what: "a Gemm's weight", shape: [6, 40], axis: 1, rowAxis: 0 },
  { what: "a weight of 300 inputs", shape: [5, 300], axis: 1, rowAxis: 0 },
  { what: "a Conv's weight", shape: [6, 20, 3, 3], axis: 1, rowAxis: 0 },
  { what: "a ConvTranspose's weight", shape: [20, 6, 3, 3], axis: 0, rowAxis: 1 },
  { what: "a middle axis", shape: [3, 40, 5], axis: 1, rowAxis: 0, scale: [3, 1, 5] },
  { what: "an activation's channels", shape: [2, 3, 40], axis: 2, scale: [1, 1, 1] },
];

const groupRandom = createRandom(41);
const perGroup = groupings.flatMap(({ what, shape, axis, rowAxis, scale: kept }) =>
  [16, 32, 64, 128, 256]
    .filter((size) => size < shape[axis])
    .concat(shape[axis])
    .flatMap((groupSize) =>
      [false, true].flatMap((zeroPoint): Example[] => {
        const groups = Math.ceil(shape[axis] / groupSize);
        const scales = kept?.with(axis, groups) ?? scaleShape(shape, { axis, groupSize });
        const drawn = (...sizes: number[]): Tensor => groupRandom.tensor("float32", sizes);
        const x = drawn(...shape);
        const qparams = [
          groupRandom.uniformTensor("float32", scales, 0.2, 0.6),
          zeroPoint ? groupRandom.uniformTensor("float32", scales, 0, 7) : undefined,
          ...(zeroPoint ? bounds(0, 7) : bounds(-3, 3)),
        ];
        const attributes = { axis, block_size: groupSize };
        const name = `${what}, groups of ${groupSize}${zeroPoint ? ", zero points" : ""}`;
        const gradient = { op: "FakeQuantizeGradient", outputs: 3 } as const;
        const whole: Example[] = [
          { op: "FakeQuantize", name, inputs: [x, ...qparams], attributes },
          { ...gradient, name, inputs: [drawn(...shape), x, ...qparams], attributes },
        ];
        if (rowAxis === undefined) return whole;
        const byRow = { ...attributes, row_axis: rowAxis };
        return [
          ...whole,
          ...[int64(2, 0), int64()].map((rows) => ({
            ...gradient,
            name: `${name}, ${rows.data.length} rows`,
            attributes: byRow,
            inputs: [drawn(...shape.with(rowAxis, rows.data.length)), x, ...qparams, rows],
          })),
        ];
      }),
    ),
);

const normalizations = [
  [16, 16, 5, 4],
  [3, 5, 4, 2],
  [6, 4, 7],
  [8, 3],
].flatMap((shape): Example[] => {
  const channels = shape[1];
  const attributes = { epsilon: 1e-3 };
  const x = normal(...shape);
  const statistics = [normal(channels), positive(channels)];
  return [
    { op: "BatchNormalizationTraining", inputs: [x, positive(channels), normal(channels)], attributes, outputs: 3 },
    {
      op: "BatchNormalizationTrainingGradient",
      inputs: [normal(...shape), x, positive(channels), ...statistics],
      attributes,
      outputs: 3,
    },
  ];
});

function updates(shape: readonly number[], axis: number | undefined, rows: readonly number[] | undefined): Example[] {
  const compact = rows && axis !== undefined ? shape.with(axis, rows.length) : shape;
  const chosen = rows ? [int64(...rows)] : [];
  const attributes = axis === undefined ? {} : { axis };
  const steps = rows
    ? tensorOf(
        "float32",
        [shape[axis ?? 0]],
        Array.from({ length: shape[axis ?? 0] }, (_, i) => i),
      )
    : float(3);
  const name = rows ? `${rows.length} rows along ${axis}` : "whole";
  const [w, g, rate] = [normal(...shape), normal(...compact), float(0.01)];
  const sgd = { ...attributes, momentum: 0.9, weightDecay: 0.01 };
  const adam = { ...attributes, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 };
  return [
    { op: "SgdUpdate", name, inputs: [w, g, normal(...shape), rate, ...chosen], attributes: sgd, outputs: 2 },
    {
      op: "AdamUpdate",
      name,
      inputs: [w, g, normal(...shape), positive(...shape), steps, rate, ...chosen],
      attributes: adam,
      outputs: 4,
    },
    {
      op: "AdamUpdate",
      name: `${name}, decoupled`,
      inputs: [w, g, normal(...shape), positive(...shape), steps, rate, ...chosen],
      attributes: { ...adam, decoupled: 1 },
      outputs: 4,
    },
  ];
}

const pools: readonly Example[] = [
  { kernel_shape: [2, 2], strides: [2, 2] },
  { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
  { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1], ceil_mode: 1 },
].flatMap((attributes): Example[] => {
  const spatial = [7, 8];
  const pads = attributes.pads ?? [0, 0, 0, 0];
  const round = attributes.ceil_mode === 1 ? Math.ceil : Math.floor;
  const sizes = spatial.map(
    (size, i) => round((size + pads[i] + pads[i + 2] - attributes.kernel_shape[i]) / attributes.strides[i]) + 1,
  );
  const dy = normal(2, 3, ...sizes);
  return [
    { op: "MaxPoolGradient", inputs: [dy, normal(2, 3, ...spatial)], attributes },
    { op: "AveragePoolGradient", inputs: [dy], attributes: { ...attributes, spatial } },
    { op: "AveragePoolGradient", inputs: [dy], attributes: { ...attributes, spatial, count_include_pad: 1 } },
  ];
});

const slices: readonly Example[] = [
  { dy: [2, 3, 4], starts: [1, 0], ends: [3, 7], axes: [0, 2], steps: [1, 2], shape: [4, 3, 8] },
  { dy: [4, 3, 3], starts: [7, 2], ends: [-1, -1], axes: [2, 1], steps: [-3, -1], shape: [4, 3, 8] },
  { dy: [3, 300], starts: [5, 1], ends: [-1, 901], axes: [0, 1], steps: [-2, 3], shape: [6, 901] },
].map(({ dy, ...attributes }) => ({ op: "SliceGradient", inputs: [normal(...dy)], attributes }));

export const engineExamples: readonly Example[] = [
  ...geometries.flatMap(convolutions),
  ...quantizers,
  ...perChannel(0, false),
  ...perChannel(1, true),
  ...perGroup,
  ...normalizations,
  ...updates([5, 4, 3], undefined, undefined),
  ...updates([5, 4, 3], 0, [4, 1]),
  ...updates([5, 4, 3], 1, [2, 0]),
  ...updates([5, 4, 3], 0, []),
  ...pools,
  ...slices,
  { op: "ReluGradient", inputs: [normal(4, 16, 3, 3), normal(4, 16, 3, 3)] },
  ...(["uint2", "int2", "uint4", "int4"] as const).map((dtype) => ({
    op: "DequantizeLinear",
    name: dtype,
    inputs: [
      random.integerTensor(dtype, [10, 7], 0, 2),
      positive(3, 7),
      random.integerTensor(dtype, [3, 7], dtype.startsWith("u") ? 0 : -2, 2),
    ],
    attributes: { axis: 0, block_size: 4 },
  })),
  ...operatorExamples,
];
