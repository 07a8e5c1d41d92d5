import { expect, test } from "vitest";
import { runKernel } from "../../test/support/forward-check.ts";
import { tensorOf } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

test("SliceGradient writes into zeros", () => {
  const attributes = { starts: [3], ends: [-6], axes: [0], steps: [-2], shape: [5] };
  const [dx] = runKernel("SliceGradient", [tensorOf("float32", [2], [1, 2])], attributes, kernels);
  expect([...dx.data]).toEqual([0, 2, 0, 1, 0]);
});
