import { expect, test } from "vitest";
import { shortName } from "./short-name.ts";

test.each([
  ["conv1", "conv1"],
  ["/layer1/layer1.0/conv1/Conv", "…layer1.0/conv1"],
  ["/layer4/layer4.2/downsample/downsample.0/Conv", "…layer4.2/downsample.0"],
  ["/encoder/layer.11/attention/self/query/MatMul", "…layer.11…self/query"],
  ["/encoder/layer.11/attention/self/MatMul_1", "…layer.11…MatMul_1"],
  ["bert.encoder.layer.11.attention.self.query", "…11…self.query"],
  ["a_single_name_that_is_far_too_long", "…_that_is_far_too_long"],
])("%s is drawn as %s", (name, short) => {
  expect(shortName(name)).toBe(short);
  expect(short.length).toBeLessThanOrEqual(22);
});
