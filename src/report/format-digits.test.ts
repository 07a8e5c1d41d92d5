import { expect, test } from "vitest";
import { formatDigits } from "./format-digits.ts";

test("numbers have three digits, large ones all whole digits and no exponent", () => {
  expect([0, 0.045, 1.5, 12.34, 99.96, 100, 2200.4, 1_100_000].map(formatDigits)).toEqual([
    "0.00",
    "0.0450",
    "1.50",
    "12.3",
    "100",
    "100",
    "2200",
    "1100000",
  ]);
});
