import { expect, test } from "vitest";
import { int64 } from "../../test/operators/examples/example.ts";
import { runKernel } from "../../test/support/forward-check.ts";
import { zeros } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

test("an unknown mode is refused", () => {
  const inputs = [zeros("float32", [1, 1, 2, 2]), undefined, undefined, int64(1, 1, 4, 4)];
  expect(() => runKernel("Resize", inputs, { mode: "area" }, kernels)).toThrow(
    'Resize (node "Resize"): mode "area" is not supported; expected nearest, linear, cubic.',
  );
});
