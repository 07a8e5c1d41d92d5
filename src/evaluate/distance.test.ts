import { expect, test } from "vitest";
import { tensorOf } from "../ir/tensor.ts";
import { addDistance, distanceOf, noDistance } from "./distance.ts";

test("class scores have an SQNR and the share of samples whose class is the same", () => {
  const total = noDistance();
  addDistance(total, tensorOf("float32", [2, 2, 1], [1, 0, 0, 2]), tensorOf("float32", [2, 2, 1], [1, 0, 1, 0]));
  addDistance(total, tensorOf("float32", [2, 2, 1], [3, 0, 0, 4]), tensorOf("float32", [2, 2, 1], [3, 0, 0, 4]));
  // Σ reference² = 1 + 4 + 9 + 16, Σ difference² = 1 + 4
  expect(distanceOf("y", total)).toMatchObject({ name: "y", sqnrDb: 10 * Math.log10(30 / 5), agreement: 3 / 4 });
});

test("images have an SQNR alone, whole numbers the share that is equal", () => {
  const images = noDistance();
  addDistance(images, tensorOf("float32", [1, 2, 2], [1, 1, 1, 1]), tensorOf("float32", [1, 2, 2], [1, 1, 1, 2]));
  const { agreement, ...image } = distanceOf("y", images);
  expect(agreement).toBeUndefined();
  expect(image).toMatchObject({ name: "y", sqnrDb: 10 * Math.log10(4) });
  const indices = noDistance();
  addDistance(indices, tensorOf("int64", [4], [1, 2, 3, 4]), tensorOf("int64", [4], [1, 2, 0, 4]));
  expect(distanceOf("i", indices)).toMatchObject({ name: "i", sqnrDb: Number.POSITIVE_INFINITY, agreement: 0.75 });
});
