import { expect, test } from "vitest";
import { endsOf, fastest } from "./slow-layers.ts";

test("shares of the layers from either end are tried, each once, and never all of them", () => {
  expect(endsOf(["a", "b", "c", "d"])).toEqual([
    ["a"],
    ["d"],
    ["a", "b"],
    ["c", "d"],
    ["a", "b", "c"],
    ["b", "c", "d"],
  ]);
  expect(endsOf(["a"])).toEqual([]);
});

test("what is hardly faster than integers throughout is not taken", () => {
  expect(fastest([1, 0.9, 0.8, 0.85])).toBe(2);
  expect(fastest([1, 0.98, 1.2])).toBe(0);
  expect(fastest([1])).toBe(0);
});
