import { describe, expect, test } from "vitest";
import { runOptions } from "./run-options.ts";

describe("targets", () => {
  test("a target fills in what is not given", () => {
    const { placement, storage, weights, symmetricActivations } = runOptions.parse({ target: "avx2" });
    expect([placement, storage, weights, symmetricActivations]).toEqual(["runtime", "int8", 7, false]);
    expect(runOptions.parse({ target: "avx2", weights: 4, storage: "packed" })).toMatchObject({
      weights: 4,
      storage: "packed",
      placement: "runtime",
    });
    expect(runOptions.parse({}).placement).toBe("inputs");
  });

  test.each([
    [{ target: "tensorrt", activations: 4 }, /activations.*is 4; TensorRT has activations of 8 bits alone/s],
    [{ target: "tensorrt", symmetricActivations: false }, /is false; TensorRT takes zero point 0 alone/],
    [{ target: "avx2", weights: 8 }, /is 8; with 8 bits, sums of two products overflow 16 bits on AVX2: expected 7/],
    [{ method: "qat", schedule: "one-cycle", warmup: 0.1 }, /one-cycle has a warm-up of its own/],
    [{ method: "qat", accumulate: 3 }, /is 3; expected a number that divides the batch of 128/],
    [{ weigths: 4 }, /Unrecognized key: \\"weigths\\"/],
    [{ method: "qat", schedule: "step", milestones: [0.7, 0.3] }, /is 0.7,0.3; expected numbers that rise/],
  ])("%j is refused", (given, message) => {
    expect(() => runOptions.parse(given)).toThrow(message);
  });
});
