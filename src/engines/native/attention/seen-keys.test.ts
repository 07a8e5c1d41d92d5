import { expect, test } from "vitest";
import { tensorOf } from "../../../ir/tensor.ts";
import { seenKeys } from "./seen-keys.ts";

const least = -3.4028234663852886e38;
const seen = (...rows: readonly (readonly number[])[]): readonly number[] | undefined => {
  const found = seenKeys(tensorOf("float32", [1, rows.length, rows[0].length], rows.flat()));
  return found && Array.from(found.data, Number);
};

test("a causal mask, a window and padding are the first key seen and the one behind the last", () => {
  expect(seen([0, least, least], [0, 0, least], [0, 0, 0])).toEqual([0, 1, 0, 2, 0, 3]);
  expect(seen([0, least, -Infinity], [0, 0, least], [least, 0, 0])).toEqual([0, 1, 0, 2, 1, 3]);
  expect(seen([0, 0, -1e30])).toEqual([0, 2]);
});

test("a mask that says more is left as it is: holes, biases, queries that see nothing, what is no number", () => {
  expect(seen([0, least, 0])).toBeUndefined();
  expect(seen([0, -1, least])).toBeUndefined();
  expect(seen([-1, 0, 0])).toBeUndefined();
  expect(seen([0, 0, 0], [least, least, least])).toBeUndefined();
  expect(seen([0, Number.NaN, least])).toBeUndefined();
  expect(seen([Number.NaN, 0, 0])).toBeUndefined();
});
