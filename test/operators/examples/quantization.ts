// Examples of quantizing, and of pretending to.
import { scalar, type Tensor, tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Forms } from "./example.ts";

const { normal, random } = draw(26);
const scales = (...shape: number[]): Tensor => random.uniformTensor("float32", shape, 0.05, 0.1);
const bounds = [scalar("float64", -7), scalar("float64", 7)];
/** Beyond all that 4 bits hold: there the straight-through gradient is the true one. */
const clipped = random.uniformTensor("float64", [2, 3, 5], 100, 200);
const x = random.uniformTensor("float64", [2, 3, 5], -3, 3);
const steps = random.uniformTensor("float64", [3], 0.3, 0.6);
const zeroPoints = tensorOf("float64", [3], [0, 2, -1]);

export const quantizationExamples = {
  FakeQuantize: [
    {
      name: "all clipped",
      inputs: [clipped, random.uniformTensor("float64", [3], 1, 2), zeroPoints, ...bounds],
      attributes: { axis: 1 },
      wanted: [0, 1],
    },
    { name: "some clipped", inputs: [x, steps, zeroPoints, ...bounds], attributes: { axis: 1 }, wanted: [] },
  ],
  FakeQuantizeGradient: [
    { inputs: [normal(2, 3, 5), x, steps, zeroPoints, ...bounds], attributes: { axis: 1 }, outputs: 3 },
  ],
  QuantizeLinear: [
    { inputs: [random.tensor("float32", [2, 3, 4]), scales(), scalar("uint8", 20)] },
    {
      name: "a scale for each channel",
      inputs: [random.tensor("float32", [2, 3, 4]), scales(3), tensorOf("int8", [3], [-3, 0, 5])],
      attributes: { axis: 1 },
    },
    {
      name: "blocks",
      inputs: [random.tensor("float32", [2, 10, 3]), scales(2, 3, 3), random.integerTensor("int8", [2, 3, 3], -9, 9)],
      attributes: { axis: 1, block_size: 4 },
    },
  ],
  DequantizeLinear: [
    { inputs: [random.integerTensor("int8", [2, 3, 4], -100, 100), scales(), scalar("int8", 3)] },
    {
      name: "a scale for each channel",
      inputs: [random.integerTensor("uint8", [2, 3, 4], 0, 256), scales(3), tensorOf("uint8", [3], [3, 0, 50])],
      attributes: { axis: 1 },
    },
    {
      name: "blocks",
      inputs: [random.integerTensor("int8", [2, 10, 3], -100, 100), scales(2, 3, 3)],
      attributes: { axis: 1, block_size: 4 },
    },
    {
      name: "scales in float64",
      inputs: [random.integerTensor("int8", [2, 10, 3], -100, 100), random.uniformTensor("float64", [2, 3, 3], 1, 2)],
      attributes: { axis: 1, block_size: 4 },
      wanted: [1],
    },
  ],
  DequantizeLinearGradient: [
    { inputs: [normal(2, 3, 4), random.integerTensor("int8", [2, 3, 4], -100, 100), scales(1), scalar("int8", 3)] },
    {
      name: "a scale for each channel",
      inputs: [
        normal(2, 3, 4),
        random.integerTensor("uint8", [2, 3, 4], 0, 256),
        scales(3),
        tensorOf("uint8", [3], [3, 0, 50]),
      ],
      attributes: { axis: 1 },
    },
    {
      name: "a scale for each of the last axis",
      inputs: [normal(2, 3, 4), random.integerTensor("int8", [2, 3, 4], -100, 100), scales(4)],
      attributes: { axis: -1 },
    },
    {
      name: "2 bits in blocks, the last of them short",
      inputs: [
        normal(2, 10, 3),
        random.integerTensor("uint2", [2, 10, 3], 0, 4),
        scales(2, 3, 3),
        random.integerTensor("uint2", [2, 3, 3], 0, 4),
      ],
      attributes: { axis: 1, block_size: 4 },
    },
    {
      name: "blocks along the last axis",
      inputs: [normal(3, 10), random.integerTensor("int8", [3, 10], -100, 100), scales(3, 3)],
      attributes: { axis: 1, block_size: 4 },
    },
  ],
} satisfies Record<string, Forms>;
