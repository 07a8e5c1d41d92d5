import { describe, expect, test } from "vitest";
import { tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { castFloats } from "./cast-floats.ts";

describe("castFloats", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["batch", 2] });
  const w = build.variable("w", { dtype: "float32", shape: [2] });
  const index = build.constant(tensorOf("int64", [1], [1]), "index");
  const scaled = build.node("Mul", [x, w]);
  const shifted = build.node("Add", [scaled, build.constant(tensorOf("float32", [], [0.5]), "shift")]);
  const half = build.node("Constant", [], { value_float: 0.1 });
  const zero = build.node("ConstantOfShape", [build.ints([2])]);
  const one = build.node("Cast", [index], { to: "float32" });
  const total = [half, zero, one].reduce((sum, value) => build.node("Add", [sum, value]), shifted);
  const graph = build.graph([total, build.node("Cast", [total], { to: "int64" })]);
  const double = castFloats(graph, "float64");
  const dtypes = (of: typeof graph): string[] => [...of.values].map(([name, { dtype }]) => `${name} ${dtype}`).sort();

  test("turns inputs, variables, constants and attributes into float64", () => {
    expect(dtypes(double).filter((line) => line.endsWith("float32"))).toEqual([]);
    expect(double.constants.get("shift")).toEqual(tensorOf("float64", [], [0.5]));
  });

  test("leaves integers as they are", () => {
    expect(double.constants.get("index")?.dtype).toBe("int64");
    expect(double.values.get(graph.outputs[1])?.dtype).toBe("int64");
  });

  test("is undone by the cast back", () => {
    const back = castFloats(double, "float32");
    expect(dtypes(back)).toEqual(dtypes(graph));
    expect(back.constants).toEqual(graph.constants);
  });
});
