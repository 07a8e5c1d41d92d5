import { describe, expect, test } from "vitest";
import type { Graph } from "../ir/graph.ts";
import { zeros } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { inferTypes } from "./infer-types.ts";

function classifier(): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["batch", 3, 4] });
  const flat = build.node("Flatten", [x], {}, "flat");
  const y = build.node("MatMul", [flat, build.constant(zeros("float32", [12, 5]), "w")], {}, "y");
  return build.graph([y]);
}

const withInput = (graph: Graph, shape: readonly (number | string)[]): Graph => ({
  ...graph,
  values: new Map([...graph.values, ["x", { dtype: "float32", shape }]]),
});

describe("inferTypes", () => {
  test("spreads a new input shape to every value", () => {
    const typed = inferTypes(withInput(classifier(), [8, 6, 2]));
    expect(typed.values.get("flat")?.shape).toEqual([8, 12]);
    expect(typed.values.get("y")?.shape).toEqual([8, 5]);
  });

  test("throws the error of a single node as it is", () => {
    expect(() => inferTypes(withInput(classifier(), [8, 6, 3]))).toThrow(/^MatMul \(node "y"\)/);
  });

  test("names all nodes that fail, and none that only follow from these", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [2, 3] });
    const a = build.node("Reshape", [x, build.ints([6])], {}, "a");
    const b = build.node("Reshape", [x, build.ints([3, 2])], {}, "b");
    const c = build.node("Neg", [a], {}, "c");
    expect(() => inferTypes(withInput(build.graph([b, c]), [2, 4]))).toThrow(
      /^2 nodes of graph "graph" have no types:\n- Reshape \(node "a"\).*\n- Reshape \(node "b"\)[^\n]*$/,
    );
  });

  test("names a value that nothing makes", () => {
    const graph = classifier();
    expect(() => inferTypes({ ...graph, nodes: graph.nodes.slice(1) })).toThrow(
      'MatMul (node "y"): it reads "flat", which nothing before it makes.',
    );
  });
});
