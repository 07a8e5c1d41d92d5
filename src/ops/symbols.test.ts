// Expressions of symbolic sizes stay short whatever a model does to them.
import { describe, expect, test } from "vitest";
import type { Graph } from "../ir/graph.ts";
import { tensorOf } from "../ir/tensor.ts";
import { buildOn } from "./infer.ts";

const depth = 60;
const longest = 300;

function expectShort({ values }: Graph): void {
  for (const { shape, elements = [] } of values.values())
    for (const dim of [...shape, ...elements]) expect(String(dim).length).toBeLessThan(longest);
}

type Build = ReturnType<typeof buildOn>;

/** Each gives a value whose sizes, or whose elements, are about twice as long an expression as the first's. */
const doublings: Readonly<Record<string, (build: Build, value: string, i: number) => string>> = {
  "Concat with itself": (build, value) => build.node("Concat", [value, value], { axis: 0 }),
  "Concat of what is cut apart": (build, value, i) => {
    const cut = build.node("Slice", [value, build.ints([i + 1]), build.ints([2 ** 40])]);
    return build.node("Concat", [value, cut], { axis: 0 });
  },
  "sums and products of sizes": (build, value) => {
    const size = build.node("Shape", [value]);
    const more = build.node("Add", [build.node("Mul", [size, size]), build.ints([1])]);
    return build.node("Expand", [build.scalar(1), build.node("Mul", [more, more])]);
  },
  "Flatten of a product with itself": (build, value) => {
    const column = build.node("Unsqueeze", [value, build.ints([1])]);
    const row = build.node("Unsqueeze", [value, build.ints([0])]);
    return build.node("Reshape", [build.node("Mul", [column, row]), build.ints([-1])]);
  },
  "Pad by the size": (build, value) => {
    const size = build.node("Shape", [value]);
    return build.node("Pad", [value, build.node("Concat", [size, build.node("Mul", [size, size])], { axis: 0 })]);
  },
  "Tile by the size": (build, value) =>
    build.node("Pad", [build.node("Tile", [value, build.node("Shape", [value])]), build.ints([0, 1])]),
};

describe("a chain of operators that each double an expression", () => {
  test.each(Object.entries(doublings))("%s", (_, twice) => {
    const build = buildOn();
    let value = build.input("x", { dtype: "float32", shape: ["N"] });
    for (let i = 0; i < depth; i++) value = twice(build, value, i);
    expectShort(build.graph([value]));
  });
});

test("sizes whose expressions grew too long are unknown, and apart from each other", () => {
  const build = buildOn();
  const inputs = Array.from({ length: 60 }, (_, i) =>
    build.input(`x${i}`, { dtype: "float32", shape: [`size_of_input_${i}`, 2] }),
  );
  const joined = build.node("Concat", inputs, { axis: 0 }, "joined");
  const other = build.node("Concat", [...inputs, inputs[0]], { axis: 0 }, "other");
  expect(build.type(joined).shape).toEqual(["joined.0", 2]);
  expect(build.type(other).shape).toEqual(["other.0", 2]);
});

test("names of any length give short names of sizes, apart from each other", () => {
  const build = buildOn();
  const name = (end: string): string => "a".repeat(1_000_000) + end;
  const x = build.input("x", { dtype: "float32", shape: [name("0"), 4] });
  const first = build.node("NonZero", [x], {}, name("1"));
  const second = build.node("NonZero", [x], {}, name("2"));
  const kept = build.node("Relu", [x]);
  const sizes = [first, second, kept].flatMap((value) => build.type(value).shape.map(String));
  for (const size of sizes) expect(size.length).toBeLessThan(longest);
  expect(build.type(first).shape[1]).not.toBe(build.type(second).shape[1]);
});

test("contents that are too long to write down are unknown, and known numbers stay known", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 3] });
  let size = build.node("Shape", [x]);
  for (let i = 0; i < depth; i++) size = build.node("Mul", [size, size]);
  const [first] = build.type(size).elements ?? [];
  expect(String(first).length).toBeLessThan(longest);
  const one = build.constant(tensorOf("int64", [1], [1]));
  const still = build.node("Slice", [build.node("Shape", [x]), one, build.ints([2])]);
  expect(build.type(still).elements).toEqual([3]);
});
