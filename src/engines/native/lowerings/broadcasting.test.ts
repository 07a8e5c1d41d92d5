import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../../../test/support/native.ts";
import { createRandom } from "../../../../test/support/random.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../../../ir/tensor.ts";
import { buildOn } from "../../../ops/infer.ts";
import { createNativeEngine } from "../native-engine.ts";
import type { Value } from "../plan.ts";
import { repeatOf } from "./broadcasting.ts";

const shaped = (shape: readonly number[], layout: Value["layout"] = "plain"): Value => ({
  slot: { bytes: 4 * sizeOf(shape), location: { kind: "arena" } },
  dtype: "float32",
  shape,
  layout,
});

test("a row is what y's memory repeats, a column what it repeats element by element", () => {
  const row = (width: number) => ({ kind: "row", width });
  expect(repeatOf(shaped([5]), shaped([2, 3, 5]))).toEqual(row(5));
  expect(repeatOf(shaped([1, 3, 5]), shaped([2, 3, 5]))).toEqual(row(15));
  expect(repeatOf(shaped([3, 1, 1]), shaped([2, 3, 4, 4], "channelsLast"))).toEqual(row(3));
  expect(repeatOf(shaped([2, 3, 1]), shaped([2, 3, 5]))).toEqual({ kind: "column", width: 5 });
  expect(repeatOf(shaped([3, 1]), shaped([2, 3, 5]))).toBeUndefined();
  expect(repeatOf(shaped([3, 1, 1]), shaped([2, 3, 4, 4]))).toBeUndefined();
});

describe.skipIf(!isNativeBuilt)(`rows meet rows on the native engine${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  const random = createRandom(5);
  const integers = (...shape: number[]): Tensor =>
    tensorOf(
      "float32",
      shape,
      Array.from({ length: sizeOf(shape) }, () => random.integer(-9, 10)),
    );

  test.each([
    [16, "right"],
    [67, "right"],
    [67, "left"],
    [3000, "left"],
  ] as const)("rows of %i, on the %s", async (width, side) => {
    const [x, row] = [integers(5, 7, width), integers(width)];
    const build = buildOn();
    const names = [x, row].map(({ shape }, i) => build.input(`x${i}`, { dtype: "float32", shape: [...shape] }));
    const y = build.node("Sub", side === "right" ? names : names.toReversed());
    const graph = build.graph([build.node("Relu", [y])]);
    const engine = createNativeEngine();
    const program = (await engine.compile(graph, { threads: 2 })).bind(await engine.variables(new Map()));
    const results = await program.run(new Map([x, row].map((value, i) => [`x${i}`, value])));
    const sign = side === "right" ? 1 : -1;
    const expected = numbersOf(x).map((value, i) => Math.max(0, sign * (value - numbersOf(row)[i % width])));
    expect(numbersOf(results.get(graph.outputs[0]) as Tensor)).toEqual(expected.map((value) => value + 0));
  });
});
