import { describe, expect, test } from "vitest";
import { runOptions } from "./recipe.ts";

describe("targets", () => {
  test("a target fills in what is not given", () => {
    const { placement, storage, weights, symmetricActivations } = runOptions.parse({
      quantize: { target: "avx2" },
    }).quantize;
    expect([placement, storage, weights, symmetricActivations]).toEqual(["runtime", "packed", 7, false]);
    const given = { target: "avx2", weights: 4, storage: "int8" };
    expect(runOptions.parse({ quantize: given }).quantize).toMatchObject({ ...given, placement: "runtime" });
  });

  test.each([
    [{ target: "tensorrt", activations: 4 }, /quantize\.activations is 4; TensorRT has activations of 8 bits alone/],
    [{ target: "tensorrt", symmetricActivations: false }, /is false; TensorRT takes zero point 0 alone/],
    [{ target: "tensorrt", asymmetricWeights: true }, /asymmetricWeights.*is true; TensorRT takes zero point 0 alone/s],
    [{ target: "tensorrt", groupSize: 32 }, /groupSize.*is 32; TensorRT has one scale per output channel/s],
    [{ target: "avx2", weights: 8 }, /is 8; with 8 bits, sums of two products overflow 16 bits on AVX2: expected 7/],
    [{ placement: "runtime", activations: "float" }, /activations is float; placement runtime is for integer kernels/],
    [{ target: "onnxruntime", activations: "float" }, /activations is float; placement runtime is for integer kernels/],
    [{ target: "avx", weights: 8 }, /quantize\.target is "avx"; did you mean "avx2"\?/],
  ])("%j is refused", (quantize, message) => {
    expect(() => runOptions.parse({ quantize })).toThrow(message);
  });
});
