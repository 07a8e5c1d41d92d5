import { expect, test } from "vitest";
import { heldCodes, heldNarrow } from "./held-narrow.ts";

test.each([
  ["uint8", 0, 3],
  ["uint8", 0, 4],
  ["uint8", 0, 15],
  ["uint8", 0, 16],
  ["uint8", 0, 255],
  ["int8", -2, 1],
  ["int8", -2, 2],
  ["int8", -3, 1],
  ["int8", -8, 7],
  ["int8", -128, 127],
] as const)("%s from %i to %i come back as they were", (dtype, low, high) => {
  const values = Array.from({ length: 37 }, (_, i) => low + ((i * 7) % (high - low + 1)));
  const codes = dtype === "uint8" ? Uint8Array.from(values) : Int8Array.from(values);
  const held = heldNarrow(codes);
  expect(held()).toEqual(codes);
  const [first, second] = [held(), held()];
  expect(first === second).toBe(high - low > 15);
  const floats = heldCodes(Float64Array.from(values), [values.length]);
  expect([floats.dtype, floats.data]).toEqual([dtype, codes]);
});

test("no numbers at all are held", () => {
  expect(heldNarrow(new Uint8Array())()).toEqual(new Uint8Array());
});
