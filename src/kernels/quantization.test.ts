import { describe, expect, it } from "vitest";
import { checkForward, runKernel } from "../../test/support/forward-check.ts";
import { createRandom } from "../../test/support/random.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

const random = createRandom(10);
const scales = (...shape: number[]): Tensor => random.uniformTensor("float32", shape, 0.01, 0.1);

describe("QuantizeLinear agrees with ONNX Runtime", () => {
  it.each([
    ["int8", -128, 128],
    ["uint8", 0, 256],
    ["int16", -1000, 1000],
    ["uint16", 0, 2000],
  ] as const)("%s, with one scale and with one per channel", async (dtype, low, high) => {
    const x = random.uniformTensor("float32", [2, 3, 20], -5, 5);
    const zeroPoint = random.integerTensor(dtype, [], low, high);
    await checkForward("QuantizeLinear", [x, scales(), zeroPoint], {}, { kernels });
    const zeroPoints = random.integerTensor(dtype, [3], low, high);
    await checkForward("QuantizeLinear", [x, scales(3), zeroPoints], { axis: 1 }, { kernels });
  });

  it("ties, and without a zero point", async () => {
    const x = tensorOf("float32", [8], [-1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75, 1000]);
    await checkForward("QuantizeLinear", [x, scalar("float32", 0.5)], {}, { kernels });
    await checkForward("QuantizeLinear", [x, scalar("float32", 0.5)], { output_dtype: "int8" }, { kernels });
  });

  it("blocks", async () => {
    const x = random.tensor("float32", [2, 10, 3]);
    const inputs = [x, scales(2, 3, 3), random.integerTensor("int8", [2, 3, 3], -9, 9)];
    await checkForward("QuantizeLinear", inputs, { axis: 1, block_size: 4 }, { kernels });
  });
});

describe("DequantizeLinear agrees with ONNX Runtime", () => {
  it.each(["int8", "uint8", "int16"] as const)("%s, with one scale, one per channel and blocks", async (dtype) => {
    const low = dtype === "uint8" ? 0 : -100;
    const ints = (...shape: number[]): Tensor => random.integerTensor(dtype, shape, low, 100);
    await checkForward("DequantizeLinear", [ints(2, 3, 8), scales(), ints()], {}, { kernels });
    await checkForward("DequantizeLinear", [ints(2, 3, 8), scales(3), ints(3)], { axis: 1 }, { kernels });
    await checkForward("DequantizeLinear", [ints(2, 3, 8), scales(8)], { axis: -1 }, { kernels });
    const blocks = [ints(2, 10, 3), scales(2, 3, 3), ints(2, 3, 3)];
    await checkForward("DequantizeLinear", blocks, { axis: 1, block_size: 4 }, { kernels });
  });

  it("int32 without a zero point", async () => {
    const x = random.integerTensor("int32", [50], -(2 ** 30), 2 ** 30);
    await checkForward("DequantizeLinear", [x, scales()], {}, { kernels });
  });

  it.each(["int4", "uint4"] as const)("%s", async (dtype) => {
    const x = random.integerTensor(dtype, [3, 8], dtype === "int4" ? -8 : 0, 8);
    const zeroPoint = random.integerTensor(dtype, [3], 0, 8);
    await checkForward("DequantizeLinear", [x, scales(3), zeroPoint], { axis: 0 }, { kernels });
  });
});

describe("FakeQuantize in float32 is quantizing and dequantizing, bit for bit", () => {
  it.each([
    ["one scale", [], {}],
    ["one scale per channel", [3], { axis: 1 }],
  ])("%s", (_name, shape, attributes) => {
    for (let round = 0; round < 50; round++) {
      const x = random.uniformTensor("float32", [2, 3, 40], -4, 4);
      const scale = scales(...shape);
      const zeroPoint = random.integerTensor("int8", shape, -20, 20);
      const bounds = [scalar("float32", -128), scalar("float32", 127)];
      const trained = tensorOf(
        "float32",
        shape,
        toNumbers(zeroPoint).map((z) => z + random.uniform(-0.4, 0.4)),
      );
      const [fake] = runKernel("FakeQuantize", [x, scale, trained, ...bounds], attributes, kernels);
      const [q] = runKernel("QuantizeLinear", [x, scale, zeroPoint], attributes, kernels);
      const [real] = runKernel("DequantizeLinear", [q, scale, zeroPoint], attributes, kernels);
      expect(fake).toEqual(real);
    }
  });
});
