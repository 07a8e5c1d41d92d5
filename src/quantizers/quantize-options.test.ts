import { expect, test } from "vitest";
import { placementOf, quantizeOptions } from "./quantize-options.ts";

test.each([
  [{}, "runtime"],
  [{ weights: 4 }, "runtime"],
  [{ activations: 4 }, "inputs"],
  [{ activations: "float" }, "inputs"],
  [{ groupSize: 32 }, "inputs"],
  [{ weightGrid: "codebook" }, "inputs"],
  [{ placement: "inputs" }, "inputs"],
  [{ activations: 4, placement: "runtime" }, "runtime"],
])("placement of %j is %s", (given, expected) => {
  expect(placementOf(quantizeOptions.parse(given))).toBe(expected);
});
