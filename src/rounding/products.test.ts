import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { multiply } from "../../test/support/moments.ts";
import { isNativeBuilt } from "../../test/support/native.ts";
import { createRandom } from "../../test/support/random.ts";
import { createNativeEngine } from "../engines/native/native-engine.ts";
import { createOnnxRuntimeEngine } from "../engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { withProducts } from "./products.ts";

const engines = {
  "the reference engine": createReferenceEngine,
  "the onnxruntime engine": createOnnxRuntimeEngine,
  ...(isNativeBuilt && { "the native engine": createNativeEngine }),
};

describe.each(Object.entries(engines))("float64 products on %s", (_, create) => {
  test.each([
    { groups: 1, rows: 3, inner: 5, columns: 4 },
    { groups: 2, rows: 97, inner: 300, columns: 19 },
    { groups: 5, rows: 1, inner: 130, columns: 131 },
    { groups: 1, rows: 13, inner: 513, columns: 33 },
  ])("%o", async (sizes) => {
    const random = createRandom(3);
    const { groups, rows, inner, columns } = sizes;
    const draw = (count: number): Float64Array => Float64Array.from({ length: count }, () => random.normal());
    const [a, b] = [draw(groups * rows * inner), draw(groups * inner * columns)];
    const context = { engine: create(), seed: 0, threads: 2 };
    const twice = await withProducts(context, async (product) => [
      await product(a, b, sizes),
      await product(a, b, sizes),
    ]);
    const expected = await multiply(a, b, sizes);
    for (const found of twice) expectClose(found, expected);
    expect(twice[0]).toEqual(twice[1]);
  });
});
