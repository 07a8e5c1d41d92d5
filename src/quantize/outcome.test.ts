import { expect, test } from "vitest";
import { timeShares } from "./outcome.ts";

test("shares of the float model's time are of what was timed", () => {
  expect(timeShares({ batch1: 4, batch256: 100 }, { batch1: 2, batch256: 150 })).toEqual([0.5, 1.5]);
  expect(timeShares({ batch1: 4, batch256: null }, { batch1: 2, batch256: null })).toEqual([0.5]);
});
