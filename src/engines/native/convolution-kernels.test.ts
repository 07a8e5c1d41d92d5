// What candidates for a convolution are measured as.
import { expect, test } from "vitest";
import { geometryOf } from "./convolution-geometry.ts";
import { type ConvolutionCall, convolutionKernel } from "./convolution-kernels.ts";
import type { KernelQuestion, Numerics, TrialStep } from "./lowering.ts";

const node = { name: "", op: "Conv", inputs: [], outputs: [], attributes: {} };
const ones = [1, 1];
const window = { kernel: [3, 3], strides: ones, dilations: ones, pads: [1, 1, 1, 1] };

function questionOf(batch: number, call: Omit<ConvolutionCall, "geometry">): KernelQuestion {
  const asked: KernelQuestion[] = [];
  const numerics: Numerics = {
    integers: 128,
    bfloat16: true,
    ownBfloat16: true,
    winograd: true,
    implementation: () => "jit",
    choose: (question) => {
      asked.push(question);
      return question.preferred;
    },
    faulty: new Set(),
  };
  const geometry = geometryOf(node, window, [batch, 144, 4, 4], [batch, 288, 4, 4]);
  convolutionKernel(numerics, node, { ...call, geometry });
  return asked[0];
}

const operandsOf = ({ operands, operations = [] }: TrialStep): TrialStep["operands"] => [
  ...operands,
  ...operations.flatMap(operandsOf),
];

test.each([
  { direction: "forward", mayNarrow: false },
  { direction: "inputGradient", mayNarrow: true, hasCodes: true },
  { direction: "inputGradient", mayNarrow: false },
  { direction: "weightGradient", mayNarrow: true, hasCodes: true },
  { direction: "weightGradient", mayNarrow: false, maxRows: 16 },
] as const)("some images of any batch take whole bytes: %o", (call) => {
  for (let batch = 1; batch < 50; batch++) {
    const { candidates } = questionOf(batch, call);
    expect(candidates.length).toBeGreaterThan(1);
    for (let images = 1; images <= batch; images++)
      for (const operand of candidates.flatMap(({ steps }) => steps(images).flatMap(operandsOf)))
        if (operand !== undefined && operand !== "passing") {
          expect(Number.isInteger(operand.bytes)).toBe(true);
          if (operand.buffer !== undefined) expect(operand.bytes % images).toBe(0);
        }
  }
});
