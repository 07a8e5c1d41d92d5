import { expect, test } from "vitest";
import { checkRows } from "../../test/support/gradient-check.ts";
import { createRandom } from "../../test/support/random.ts";
import type { Dim } from "../ir/graph.ts";
import { kernels } from "../kernels/index.ts";
import { Cast } from "./elementwise.ts";
import { buildOn } from "./infer.ts";

const x = createRandom(5).tensor("float64", [4, 3]);

test.each([
  ["Identity", {}],
  ["Neg", {}],
  ["Cast", { to: "float64" }],
  ["Dropout", {}],
])("%s passes a want for some rows on", (op, attributes) => {
  checkRows(op, [x], attributes, { input: 0, axis: 0, rows: [2, 0] }, { kernels });
  checkRows(op, [x], attributes, { input: 0, axis: 1, rows: [] }, { kernels });
});

test.each<[string, Dim, Dim, Dim]>([
  ["Add", "n", 0, "n"],
  ["Sub", "n", "n", 0],
  ["Mul", "n", 4, "4*n"],
  ["Div", "4*n", 4, "n"],
  ["Div", -7, 2, -3],
  ["Max", 3, 5, 5],
  ["Equal", "n", -1, 0],
  ["Equal", "n", "n", 1],
  ["Div", "n", 2, "y[0]"],
])("%s of known contents: %s and %s give %s", (op, a, b, expected) => {
  const build = buildOn();
  const left = build.input("a", { dtype: "int64", shape: [1], elements: [a] });
  const right = build.input("b", { dtype: "int64", shape: [1], elements: [b] });
  expect(build.type(build.node(op, [left, right], {}, "y")).elements).toEqual([expected]);
});

test.each([
  [0, 5],
  [1, -2],
])("known contents are divided with the remainder's sign that fmod %i says", (fmod, expected) => {
  const build = buildOn();
  const [a, b] = [-2, 7].map((value, i) => build.input(`x${i}`, { dtype: "int64", shape: [1], elements: [value] }));
  expect(build.type(build.node("Mod", [a, b], { fmod })).elements).toEqual([expected]);
});

test("a cast between integers and floats has no gradient", () => {
  const build = buildOn();
  const float = build.input("x", { dtype: "float32", shape: [2] });
  build.node("Cast", [float], { to: "int64" }, "y");
  const [node] = build.graph([]).nodes;
  const { gradient } = Cast;
  if (gradient === "none") throw new Error("Cast has no rule");
  const rule = () => gradient({ node, build, dys: [float], wants: () => "all", type: build.type });
  expect(rule).toThrow('Cast (node "y"): a cast from float32 to int64 has no gradient');
});
