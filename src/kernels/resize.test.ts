import { describe, expect, test } from "vitest";
import { int64, titleOf } from "../../test/gradients/examples/example.ts";
import { resizeExamples } from "../../test/gradients/examples/resize.ts";
import { runKernel } from "../../test/support/forward-check.ts";
import { checkExample } from "../../test/support/forward-examples.ts";
import { zeros } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

describe("Resize agrees with ONNX Runtime", () => {
  test.each(resizeExamples.map((example) => [titleOf(example), example] as const))("%s", (_title, example) =>
    checkExample(example, {
      widen: { factor: 4, because: "ONNX Runtime interpolates in float32 throughout" },
    }),
  );
});

test("an unknown mode is refused", () => {
  const inputs = [zeros("float32", [1, 1, 2, 2]), undefined, undefined, int64(1, 1, 4, 4)];
  expect(() => runKernel("Resize", inputs, { mode: "area" }, kernels)).toThrow(
    'Resize (node "Resize"): mode "area" is not supported; expected nearest, linear, cubic.',
  );
});
