import { expect, test } from "vitest";
import { buildOn } from "../ops/infer.ts";
import { batchThatFits, bytesPerSample, planFetches } from "./batch-that-fits.ts";

function graphOf(size: number) {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 1, size, size] });
  return build.graph([build.node("Relu", [x], {}, "y")]);
}

test("a sample's bytes are those of all values that are not constants", () => {
  expect(bytesPerSample(graphOf(10))).toBe(2 * 100 * 4);
});

test("small values run many at once, large ones as many as fit, one at least", () => {
  expect(batchThatFits(graphOf(10), 250)).toBe(250);
  expect(batchThatFits(graphOf(4096), 250)).toBe(2);
  expect(batchThatFits(graphOf(40_000), 250)).toBe(1);
});

test("outputs that take much are of few samples, though all values would fit of more", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 512, 64] });
  const head = build.constant({ dtype: "float32", shape: [64, 32768], data: new Float32Array(64 * 32768) }, "head");
  expect(batchThatFits(build.graph([build.node("MatMul", [x, head], {}, "logits")]))).toBe(2);
});

test("values whose axes are made of the batch and other sizes count in full", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 8, 10] });
  const heads = build.node("Reshape", [x, build.ints([-1, 10])], {}, "heads");
  const graph = build.graph([build.node("Relu", [heads], {}, "y")]);
  expect(bytesPerSample(graph)).toBe(3 * 80 * 4);
});

test("a size that is known only while the model runs counts as the largest that is known", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 100] });
  const graph = build.graph([build.node("NonZero", [x], {}, "places")]);
  expect(bytesPerSample(graph)).toBe(100 * 4 + 2 * 100 * 8);
});

test("what is fetched together fits into memory: as many samples as fit, or one and the values in groups", () => {
  const values = (size: number, count: number) => {
    const build = buildOn();
    let x = build.input("x", { dtype: "float32", shape: [1, size, size] });
    const names: string[] = [];
    for (let i = 0; i < count; i++) {
      x = build.node("Relu", [x], {}, `y${i}`);
      names.push(x);
    }
    return { graph: build.graph([x]), names };
  };
  const plan = (size: number, count: number) => {
    const { graph, names } = values(size, count);
    const { samples, groups } = planFetches(graph, names, (name) => [name], 64);
    expect(groups.flat()).toEqual(names);
    return [samples, ...groups.map(({ length }) => length)];
  };
  expect(plan(16, 3)).toEqual([64, 3]);
  // 2^28 bytes: 4 MiB a value, 8 values.
  expect(plan(1024, 8)).toEqual([8, 8]);
  // 64 MiB a value.
  expect(plan(4096, 10)).toEqual([1, 4, 4, 2]);
  expect(plan(16384, 2)).toEqual([1, 1, 1]);
  expect(plan(16, 0)).toEqual([64]);
});
