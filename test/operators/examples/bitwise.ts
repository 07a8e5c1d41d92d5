// Examples of the operators on bits.
import { tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Forms } from "./example.ts";

const { integers } = draw(18);
const bytes = tensorOf("uint8", [4], [0, 0x55, 0xaa, 0xff]);

const two = (): Forms => [
  { name: "int64", inputs: [integers(2, 5), tensorOf("int64", [2, 1], [4, -3])] },
  { name: "uint8", inputs: [bytes, tensorOf("uint8", [], [0x3c])] },
];
const shifted = [bytes, tensorOf("uint8", [4], [0, 1, 3, 7])];
const wide = [
  { dtype: "uint64" as const, shape: [2], data: BigUint64Array.of(2n ** 64n - 3n, 5n) },
  tensorOf("uint64", [], [3]),
];

export const bitwiseExamples = {
  BitwiseAnd: two(),
  BitwiseOr: two(),
  BitwiseXor: two(),
  BitwiseNot: [
    { name: "int64", inputs: [integers(5)] },
    { name: "uint8", inputs: [bytes] },
  ],
  BitShift: [
    { name: "uint8", inputs: shifted, attributes: { direction: "LEFT" } },
    { name: "uint8", inputs: shifted, attributes: { direction: "RIGHT" } },
    { name: "uint64", inputs: wide, attributes: { direction: "LEFT" } },
    { name: "uint64", inputs: wide, attributes: { direction: "RIGHT" } },
  ],
} satisfies Record<string, Forms>;
