import { expect, test } from "vitest";
import { productOf, quotientOf, sumOf } from "./dims.ts";

test("products collect numbers and sort symbols", () => {
  expect(productOf([2, "width", 3, "batch"])).toBe("6*batch*width");
  expect(productOf(["6*batch*width", 0])).toBe(0);
  expect(productOf([])).toBe(1);
  expect(productOf(["batch"])).toBe("batch");
});

test("quotients are given where they are provably whole", () => {
  expect(quotientOf(["batch", 64, 7, 7], ["batch"])).toBe(3136);
  expect(quotientOf(["batch", 6], [4])).toBeUndefined();
  expect(quotientOf(["batch"], ["width"])).toBeUndefined();
  expect(quotientOf(["6*batch*width"], [3, "width"])).toBe("2*batch");
});

test("sums of symbols are atoms of products", () => {
  expect(sumOf(["past", 1, 0])).toBe("(past+1)");
  expect(sumOf(["past", 0])).toBe("past");
  expect(productOf([sumOf(["past", 1]), 2])).toBe("2*(past+1)");
  expect(quotientOf(["2*(past+1)"], ["(past+1)"])).toBe(2);
  expect(productOf(["s0 + 1", 2])).toBe("2*(s0 + 1)");
});
