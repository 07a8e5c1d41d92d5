import { describe, expect, test } from "vitest";
import { tensorOf } from "../../ir/tensor.ts";
import type { FreezingPlan } from "../../training/freezing-plan.ts";
import { importanceOfRows } from "./importance.ts";
import { selectBlocks } from "./select.ts";

/** Rows of importance 1, 5, 2 and 4, 3, 6, 0.5; the second weight's rows are along axis 1. */
const weights = [
  { name: "a", value: tensorOf("float32", [3, 2], [1, -1, -5, 5, 2, 2]), rowAxis: 0 },
  { name: "b", value: tensorOf("float32", [1, 4], [4, -3, 6, 0.5]), rowAxis: 1 },
];
const options = { mode: "cwpn", updateRatio: 0.5, ratioCounts: "blocks", importance: "magnitude" } as const;
const plain = (plan: FreezingPlan): Record<string, unknown> =>
  Object.fromEntries([...plan].map(([name, rows]) => [name, typeof rows === "string" ? rows : [...rows]]));

describe("selection", () => {
  test("importance is the mean magnitude of a row", () => {
    expect([...importanceOfRows(weights[0].value, 0)]).toEqual([1, 5, 2]);
    expect([...importanceOfRows(weights[1].value, 1)]).toEqual([4, 3, 6, 0.5]);
  });
  test("cwpn ranks all channels of the network together", () => {
    expect(plain(selectBlocks(weights, options, 0, 0))).toEqual({ a: [1], b: [0, 2] });
  });
  test("cwpl takes the top share of each layer", () => {
    expect(plain(selectBlocks(weights, { ...options, mode: "cwpl" }, 0, 0))).toEqual({ a: [1], b: [0, 2] });
    expect(plain(selectBlocks(weights, { ...options, mode: "cwpl", updateRatio: 0.7 }, 0, 0))).toEqual({
      a: [1, 2],
      b: [0, 2],
    });
  });
  test("lwpn trains whole layers", () => {
    expect(plain(selectBlocks(weights, { ...options, mode: "lwpn" }, 0, 0))).toEqual({ a: "none", b: "all" });
  });
  test("a ratio of weights takes as many of the ranking's first as fit", () => {
    expect(plain(selectBlocks(weights, { ...options, ratioCounts: "weights", updateRatio: 0.31 }, 0, 0))).toEqual({
      a: [1],
      b: [2],
    });
    expect(
      plain(selectBlocks(weights, { ...options, mode: "lwpn", ratioCounts: "weights", updateRatio: 0.3 }, 0, 0)),
    ).toEqual({ a: "none", b: "none" });
  });
  test("a ratio of 0 freezes every weight", () => {
    expect(plain(selectBlocks(weights, { ...options, updateRatio: 0 }, 0, 0))).toEqual({ a: "none", b: "none" });
  });
  test("the random control depends on the seed and the draw alone", () => {
    const random = { ...options, importance: "random" } as const;
    const draws = Array.from({ length: 20 }, (_, draw) =>
      JSON.stringify(plain(selectBlocks(weights, random, 1, draw))),
    );
    expect(new Set(draws).size).toBeGreaterThan(3);
    expect(plain(selectBlocks(weights, random, 1, 4))).toEqual(JSON.parse(draws[4]));
  });
});
