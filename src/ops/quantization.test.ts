import { describe, expect, it } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { runKernel } from "../../test/support/forward-check.ts";
import { checkGradients, checkRows } from "../../test/support/gradient-check.ts";
import { createRandom } from "../../test/support/random.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { kernels } from "../kernels/index.ts";
import { buildOn } from "./infer.ts";

const random = createRandom(11);
const bounds = [scalar("float64", -7), scalar("float64", 7)];

/** Ties to even, by way of the decimal digits: no arithmetic shared with the kernel. */
function nearest(value: number): number {
  const candidates = [Math.trunc(value) - 1, Math.trunc(value), Math.trunc(value) + 1];
  const distance = (n: number): number => Math.abs(n - value);
  const best = Math.min(...candidates.map(distance));
  const closest = candidates.filter((n) => distance(n) === best);
  return closest.length === 1 ? closest[0] : closest[0] % 2 === 0 ? closest[0] : closest[1];
}

interface Gradients {
  readonly dx: number[];
  readonly dscale: number[];
  readonly dzeroPoint: number[];
}

/** The straight-through gradients as the operator's definition words them; x is [outer, rows, inner]. */
function straightThrough(dy: Tensor, x: Tensor, scale: Tensor, zeroPoint: Tensor | undefined): Gradients {
  const rows = scale.data.length;
  const inner = x.shape.length === 3 ? x.shape[2] : x.data.length;
  const result: Gradients = {
    dx: [],
    dscale: toNumbers(scale).map(() => 0),
    dzeroPoint: toNumbers(scale).map(() => 0),
  };
  toNumbers(x).forEach((value, i) => {
    const row = Math.floor(i / inner) % rows;
    const s = Number(scale.data[row]);
    const z = zeroPoint ? nearest(Number(zeroPoint.data[row])) : 0;
    const g = Number(dy.data[i]);
    const v = nearest(value / s) + z;
    const isInside = -7 <= v && v <= 7;
    const q = Math.max(-7, Math.min(7, v));
    result.dx.push(isInside ? g : 0);
    result.dscale[row] += isInside ? g * (q - z - value / s) : g * (q - z);
    result.dzeroPoint[row] += isInside ? 0 : -g * s;
  });
  return result;
}

/** The same in groups, by the indices of each element: where the scale has one index, all share it. */
function straightThroughGroups(
  { dy, x, scale, zeroPoint }: Readonly<Record<"dy" | "x" | "scale" | "zeroPoint", Tensor>>,
  { axis, groupSize }: { readonly axis: number; readonly groupSize: number },
): Gradients {
  const result: Gradients = {
    dx: [],
    dscale: toNumbers(scale).map(() => 0),
    dzeroPoint: toNumbers(scale).map(() => 0),
  };
  toNumbers(x).forEach((_, i) => {
    let rest = i;
    const at = x.shape.map(() => 0);
    for (let each = x.shape.length - 1; each >= 0; each--) {
      at[each] = rest % x.shape[each];
      rest = Math.floor(rest / x.shape[each]);
    }
    at[axis] = Math.floor(at[axis] / groupSize);
    const index = scale.shape.reduce((sum, size, each) => sum * size + (size === 1 ? 0 : at[each]), 0);
    const one = (t: Tensor, from: number): Tensor => tensorOf("float64", [1], [Number(t.data[from])]);
    const each = straightThrough(one(dy, i), one(x, i), one(scale, index), one(zeroPoint, index));
    result.dx.push(each.dx[0]);
    result.dscale[index] += each.dscale[0];
    result.dzeroPoint[index] += each.dzeroPoint[0];
  });
  return result;
}

describe("FakeQuantizeGradient is the straight-through gradient", () => {
  it.each([
    ["one scale", [], {}, true],
    ["one scale, symmetric", [], {}, false],
    ["one scale per channel", [3], { axis: 1 }, true],
    ["one scale per channel, symmetric", [3], { axis: 1 }, false],
  ])("%s", (_name, shape, attributes, hasZeroPoint) => {
    const x = random.tensor("float64", [2, 3, 30]);
    const dy = random.tensor("float64", [2, 3, 30]);
    const scale = random.uniformTensor("float64", shape, 0.1, 0.3);
    const zeroPoint = hasZeroPoint ? random.uniformTensor("float64", shape, -3, 3) : undefined;
    const inputs = [dy, x, scale, zeroPoint, ...bounds];
    const actual = runKernel("FakeQuantizeGradient", inputs, attributes, kernels, 3);
    const expected = straightThrough(dy, x, scale, zeroPoint);
    expectClose(toNumbers(actual[0]), expected.dx, { what: "dx" });
    expectClose(toNumbers(actual[1]), expected.dscale, { what: "dscale" });
    expectClose(toNumbers(actual[2]), expected.dzeroPoint, { what: "dzeroPoint" });
  });

  it.each([
    { what: "a matrix by input groups, the last one ragged", shape: [10, 3], axis: 0, groupSize: 4, scale: [3, 3] },
    { what: "a matrix with its rows first", shape: [3, 10], axis: 1, groupSize: 4, scale: [3, 3] },
    { what: "a convolution, its window shared", shape: [3, 5, 2, 2], axis: 1, groupSize: 2, scale: [3, 3, 1, 1] },
    { what: "a transposed convolution", shape: [5, 3, 2, 2], axis: 0, groupSize: 2, scale: [3, 3, 1, 1] },
    { what: "ONNX's blocks, a scale at each place", shape: [3, 5, 2, 2], axis: 1, groupSize: 2, scale: [3, 3, 2, 2] },
    { what: "an activation's channels", shape: [4, 2, 10], axis: 2, groupSize: 3, scale: [1, 1, 4] },
  ])("groups: $what", ({ shape, axis, groupSize, scale: scaleSizes }) => {
    const [dy, x] = [random.tensor("float64", shape), random.tensor("float64", shape)];
    const scale = random.uniformTensor("float64", scaleSizes, 0.1, 0.3);
    const zeroPoint = random.uniformTensor("float64", scaleSizes, -3, 3);
    const inputs = [dy, x, scale, zeroPoint, ...bounds];
    const actual = runKernel("FakeQuantizeGradient", inputs, { axis, block_size: groupSize }, kernels, 3);
    const expected = straightThroughGroups({ dy, x, scale, zeroPoint }, { axis, groupSize });
    expectClose(toNumbers(actual[0]), expected.dx, { what: "dx" });
    expectClose(toNumbers(actual[1]), expected.dscale, { what: "dscale" });
    expectClose(toNumbers(actual[2]), expected.dzeroPoint, { what: "dzeroPoint" });
  });

  it("one group of all inputs is a scale per row", () => {
    const [dy, x] = [random.tensor("float64", [4, 9]), random.tensor("float64", [4, 9])];
    const [scale, zeroPoint] = [
      random.uniformTensor("float64", [4], 0.1, 0.3),
      random.uniformTensor("float64", [4], -3, 3),
    ];
    const asGroups = (t: Tensor): Tensor => ({ ...t, shape: [4, 1] });
    const perRow = runKernel("FakeQuantizeGradient", [dy, x, scale, zeroPoint, ...bounds], { axis: 0 }, kernels, 3);
    const inputs = [dy, x, asGroups(scale), asGroups(zeroPoint), ...bounds];
    const grouped = runKernel("FakeQuantizeGradient", inputs, { axis: 1, block_size: 9 }, kernels, 3);
    expect(grouped.map(toNumbers)).toEqual(perRow.map(toNumbers));
  });

  // torch._fake_quantize_learnable_per_tensor_affine(x, 0.5, zeroPoint, low, high, 1) of PyTorch 1.13 and its backward().
  it.each([
    {
      bounds: [0, 255, 300.2],
      y: [-3, -1, 0, 0, 0, 0, 0, 0],
      dx: [1, 2, 3, 4, 0, 0, 0, 0],
      dscale: 1.2,
      dzeroPoint: -13,
    },
    {
      bounds: [0, 255, -30],
      y: [0, 0, 0, 0, 0.5, 1, 2.5, 40],
      dx: [0, 0, 3, 4, 5, 6, 7, 8],
      dscale: 1.8,
      dzeroPoint: -1.5,
    },
    {
      bounds: [-7, 7, -9],
      y: [0, 0, 0, 0, 0.5, 1, 2.5, 7],
      dx: [0, 0, 3, 4, 5, 6, 7, 0],
      dscale: 113.8,
      dzeroPoint: -5.5,
    },
  ])("a zero point beyond the integers is the nearest of them: $bounds", ({ bounds, ...expected }) => {
    const floats = (...values: number[]): Tensor => tensorOf("float64", [values.length], values);
    const x = floats(-3, -1, -0.2, 0, 0.3, 1, 2.6, 40);
    const [low, high, zeroPoint] = bounds.map((value) => scalar("float64", value));
    const inputs = [x, scalar("float64", 0.5), zeroPoint, low, high];
    expect(toNumbers(runKernel("FakeQuantize", inputs, {}, kernels)[0]).map((value) => value + 0)).toEqual(expected.y);
    const dy = floats(1, 2, 3, 4, 5, 6, 7, 8);
    const [dx, dscale, dzeroPoint] = runKernel("FakeQuantizeGradient", [dy, ...inputs], {}, kernels, 3);
    expect(toNumbers(dx)).toEqual(expected.dx);
    expectClose(toNumbers(dscale), [expected.dscale], { what: "dscale" });
    expect(toNumbers(dzeroPoint)).toEqual([expected.dzeroPoint]);
  });

  it("where all is clipped, the true derivative by scale and zero point", () => {
    const x = random.uniformTensor("float64", [2, 3, 5], 100, 200);
    const inputs = [x, random.uniformTensor("float64", [3], 1, 2), tensorOf("float64", [3], [0, 2, -1]), ...bounds];
    checkGradients("FakeQuantize", inputs, { axis: 1 }, { kernels, wanted: [0, 1] });
  });
});

describe("rows of FakeQuantize's gradients", () => {
  const inputs = [
    random.tensor("float64", [5, 4, 3]),
    random.uniformTensor("float64", [5], 0.1, 0.3),
    random.uniformTensor("float64", [5], -3, 3),
    ...bounds,
  ];

  it.each([0, 1, 2])("of input %i", (input) => {
    for (const rows of [[4, 1, 2], []])
      checkRows("FakeQuantize", inputs, { axis: 0 }, { input, axis: 0, rows }, { kernels });
  });

  it.each([
    { what: "a matrix", shape: [10, 4], scale: [3, 4], axis: 0, rowAxis: 1 },
    { what: "a matrix with its rows first", shape: [4, 10], scale: [4, 3], axis: 1, rowAxis: 0 },
    { what: "a convolution", shape: [4, 10, 2, 2], scale: [4, 3, 1, 1], axis: 1, rowAxis: 0 },
  ])("in groups: $what", ({ shape, scale, axis, rowAxis }) => {
    const grouped = [
      random.tensor("float64", shape),
      random.uniformTensor("float64", scale, 0.1, 0.3),
      random.uniformTensor("float64", scale, -3, 3),
      ...bounds,
    ];
    for (const rows of [[3, 1], []])
      for (const input of [0, 1, 2])
        checkRows("FakeQuantize", grouped, { axis, block_size: 4 }, { input, axis: rowAxis, rows }, { kernels });
  });

  it("along the last axis of a matrix", () => {
    const matrix = [
      random.tensor("float64", [6, 4]),
      random.uniformTensor("float64", [4], 0.1, 0.3),
      undefined,
      ...bounds,
    ];
    checkRows("FakeQuantize", matrix, { axis: 1 }, { input: 0, axis: 1, rows: [3, 0] }, { kernels });
  });
});

describe("inference of FakeQuantize", () => {
  it("refuses scales that do not fit the groups", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [8, 70] });
    const scale = build.input("scale", { dtype: "float32", shape: [8, 2] });
    const bound = build.scalar(7);
    const attributes = { axis: 1, block_size: 32 };
    expect(() => build.node("FakeQuantize", [x, scale, undefined, bound, bound], attributes, "/w")).toThrow(
      'FakeQuantize (node "/w"): input "scale" is [8, 2]; expected [8, 3], in groups of 32 along axis 1, for x [8, 70].',
    );
  });

  it("refuses scales that do not fit the axis", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [8, 3] });
    const scale = build.input("scale", { dtype: "float32", shape: [3] });
    const bound = build.scalar(7);
    expect(() => build.node("FakeQuantize", [x, scale, undefined, bound, bound], { axis: 0 }, "/w")).toThrow(
      'FakeQuantize (node "/w"): input "scale" is [3]; expected [8] for x [8, 3].',
    );
  });
});

describe("DequantizeLinear's scales have the gradient of finite differences", () => {
  const integers = (shape: readonly number[], dtype: "uint8" | "int8"): Tensor =>
    tensorOf(
      dtype,
      shape,
      Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.integer(0, 15)),
    );
  it.each([
    ["one for all", [3, 5], [], {}],
    ["along an axis", [3, 5, 2], [5], { axis: 1 }],
    ["in whole groups", [8, 3], [2, 3], { axis: 0, block_size: 4 }],
    ["in groups of which the last is short", [11, 3], [3, 3], { axis: 0, block_size: 4 }],
    ["in groups along the last axis", [2, 7], [2, 3], { axis: -1, block_size: 3 }],
    ["over a window", [2, 6, 3], [2, 2, 3], { axis: 1, block_size: 3 }],
  ])("%s", (_, shape, scale, attributes) => {
    for (const dtype of ["uint8", "int8"] as const)
      for (const zeroPoint of [undefined, integers(scale, dtype)]) {
        const inputs = [integers(shape, dtype), random.tensor("float64", scale), zeroPoint];
        checkGradients("DequantizeLinear", inputs, attributes, { kernels, wanted: [1] });
      }
  });
});
