import { expect, test } from "vitest";
import type { Graph } from "../../ir/graph.ts";
import { tensor } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { quantizeOptions } from "../../quantizers/quantize-options.ts";
import { choicesOf } from "./choices.ts";
import { measuresFor } from "./method.ts";
import { mixedPrecisionOptions } from "./options.ts";

/** Of `size` × `size` pixels, 64 · 64 · 9 multiply-adds each. */
function convolution(size: number): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 64, size, size] });
  const weight = build.constant(tensor("float32", [64, 64, 3, 3], new Float32Array(64 * 64 * 9).fill(0.1)), "c.weight");
  return build.graph([build.node("Conv", [x, weight], { pads: [1, 1, 1, 1] }, "c")]);
}

test.each([
  [200, "divergence"],
  [2000, "fisher"],
] as const)("images of %i pixels have widths measured by %s, whatever their number at once", (size, measure) => {
  const graph = convolution(size);
  const widths = choicesOf(graph, quantizeOptions.parse({}), [2, 8]);
  const options = mixedPrecisionOptions.parse({ maxSize: 1000 });
  expect(measuresFor(graph, widths, options)).toEqual([measure]);
  expect(measuresFor(graph, widths, { ...options, sensitivity: "output" })).toEqual(["output"]);
});
