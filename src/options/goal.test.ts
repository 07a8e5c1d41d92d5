import { expect, test } from "vitest";
import { runOptions } from "./recipe.ts";

test.each([
  [{ maxSize: "0x" }, "a size such as"],
  [{ maxSize: "0.0 MB" }, "a size such as"],
  [{ maxLatency: "0ms" }, "a time such as"],
  [{ maxBops: "0G" }, "a number such as"],
  [{ budget: "0s" }, "a time such as"],
])("a goal of nothing is refused before any work: %o", (goal, expected) => {
  expect(() => runOptions.parse({ goal })).toThrow(expected);
});

test("stages of methods that nobody named are not measured", () => {
  expect(() => runOptions.parse({ goal: {}, accuracies: "all" })).toThrow(
    "options: accuracies: all stages are measured of methods that are named",
  );
  expect(runOptions.parse({ goal: {}, accuracies: "deployed" }).accuracies).toBe("deployed");
});
