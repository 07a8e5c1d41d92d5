import { expect, test } from "vitest";
import type { TypedArray } from "./dtype.ts";
import { tensorOf } from "./tensor.ts";
import { elementsInParts, storedInParts } from "./tensor-source.ts";

const joined = (parts: readonly TypedArray[]): readonly number[] => parts.flatMap((part) => Array.from(part, Number));

test("a tensor that can be read in parts is read so, in its order", () => {
  const most = 2 ** 19;
  const all = Float64Array.from({ length: 2 * most + 3 }, (_, i) => i);
  const asked: (readonly [number, number])[] = [];
  const read = (start: number, end: number): TypedArray => {
    asked.push([start, end]);
    return all.subarray(start, end);
  };
  const value = storedInParts("float64", [all.length], read);
  expect(value.data).toHaveLength(all.length);
  expect(asked.splice(0)).toEqual([[0, all.length]]);
  const parts = [...elementsInParts(value)];
  expect(asked).toEqual([
    [0, most],
    [most, 2 * most],
    [2 * most, 2 * most + 3],
  ]);
  expect(parts.map(({ length }) => length)).toEqual([most, most, 3]);
});

test("others are one part", () => {
  const value = tensorOf("float32", [3], [1, 2, 3]);
  expect(joined([...elementsInParts(value)])).toEqual([1, 2, 3]);
});
