import { describe, expect, test } from "vitest";
import type { Graph, Node } from "./graph.ts";
import { type Tensor, tensorOf } from "./tensor.ts";
import { verifyGraph } from "./verify.ts";

const node = (name: string, inputs: readonly string[], outputs: readonly string[], op = "Relu"): Node => ({
  name,
  op,
  inputs,
  outputs,
  attributes: {},
});

const graphOf = (
  nodes: readonly Node[],
  constants: Readonly<Record<string, Tensor>> = {},
  changes: Partial<Graph> = {},
): Graph => ({
  name: "test",
  inputs: ["x"],
  outputs: ["y"],
  nodes,
  values: new Map([["x", { dtype: "float32", shape: ["N", 3] }]]),
  constants: new Map(Object.entries(constants)),
  variables: [],
  updates: new Map(),
  ...changes,
});

test("a graph in order comes back as it is", () => {
  const graph = graphOf([node("a", ["x"], ["h"]), node("b", ["h"], ["y"])]);
  expect(verifyGraph(graph)).toBe(graph);
});

test("a graph out of order is sorted, and nodes that are independent keep their order", () => {
  const graph = graphOf([
    node("d", ["b", "c"], ["y"], "Add"),
    node("b", ["a"], ["b"]),
    node("c", ["a"], ["c"]),
    node("a", ["x"], ["a"]),
  ]);
  expect(verifyGraph(graph).nodes.map(({ name }) => name)).toEqual(["a", "b", "c", "d"]);
});

test("a chain of 100,000 nodes in reverse order is sorted without exhausting the stack", () => {
  const nodes = Array.from({ length: 100_000 }, (_, i) =>
    node(`n${i}`, [i === 0 ? "x" : `v${i - 1}`], [i === 99_999 ? "y" : `v${i}`]),
  );
  expect(verifyGraph(graphOf(nodes.toReversed())).nodes[0].name).toBe("n0");
});

test("a cycle is named from node to node", () => {
  const nodes = [node("a", ["q"], ["p"]), node("b", ["p"], ["q"]), node("c", ["q"], ["y"])];
  expect(() => verifyGraph(graphOf(nodes))).toThrow(
    'the graph has a cycle: Relu (node "a") reads Relu (node "b") reads Relu (node "a").',
  );
});

test("left-out inputs and outputs are not values", () => {
  expect(() => verifyGraph(graphOf([node("a", ["x", "", "x"], ["", "y"]), node("b", ["x"], ["", "z"])]))).not.toThrow();
});

test("an update must take a value that exists", () => {
  const graph = graphOf([node("a", ["x"], ["y"])], {}, { variables: ["w"], updates: new Map([["w", "next"]]) });
  expect(() => verifyGraph(graph)).toThrow('variable "w" is to take the value "next", which nothing gives.');
});

describe("constants", () => {
  const one = [node("a", ["x", "w"], ["y"], "Conv")];
  test("whose data does not fill their shape are refused", () => {
    const w: Tensor = { dtype: "float32", shape: [2, 2], data: new Float32Array(3) };
    expect(() => verifyGraph(graphOf(one, { w }))).toThrow(
      'initializer "w" has 3 elements of data; float32 of shape [2, 2] takes 4.',
    );
  });
  test("held in another array than their type's are refused", () => {
    const w: Tensor = { dtype: "float64", shape: [3], data: new Float32Array(3) };
    expect(() => verifyGraph(graphOf(one, { w }))).toThrow(/"w" has 3 elements of data; float64/);
  });
  test("that contradict their type are refused", () => {
    const graph = graphOf(one, { w: tensorOf("float32", [3], [1, 2, 3]) });
    const values = new Map([...graph.values, ["w", { dtype: "float32", shape: [4] } as const]]);
    expect(() => verifyGraph({ ...graph, values })).toThrow(
      '"w" is float32 of shape [3], but its type says float32 [4].',
    );
  });
  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "that hold %d as a weight are refused",
    (value) => {
      const w = tensorOf("float32", [3], [1, value, 3]);
      expect(() => verifyGraph(graphOf(one, { w }))).toThrow(`"w" holds ${value} at index 1 of 3`);
    },
  );
  test("may be infinite where they are a bound or a mask", () => {
    const w = tensorOf("float32", [3], [1, Number.NEGATIVE_INFINITY, 3]);
    expect(() => verifyGraph(graphOf([node("a", ["x", "w"], ["y"], "Max")], { w }))).not.toThrow();
  });
  test("may not be NaN even there", () => {
    const w = tensorOf("float32", [1], [Number.NaN]);
    expect(() => verifyGraph(graphOf([node("a", ["x", "w"], ["y"], "Max")], { w }))).toThrow(/NaN/);
  });
  test.each([
    ["float16", 0x7c00, /infinity/],
    ["float16", 0xfe00, /NaN/],
    ["bfloat16", 0x7f80, /infinity/],
    ["bfloat16", 0x7fc0, /NaN/],
  ] as const)("of type %s with the bits %d are refused", (dtype, bits, message) => {
    expect(() => verifyGraph(graphOf(one, { w: tensorOf(dtype, [2], [0x3c00, bits]) }))).toThrow(message);
  });
});
