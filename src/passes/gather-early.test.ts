import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { selectEngine } from "../engines/select.ts";
import type { Builder } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";
import { scalar, type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { gatherEarly } from "./gather-early.ts";

const filled = (shape: readonly number[], seed = 1): Tensor => {
  const count = shape.reduce((product, size) => product * size, 1);
  return tensorOf(
    "float32",
    shape,
    Array.from({ length: count }, (_, i) => Math.sin(seed + 1.7 * i)),
  );
};

const x = filled([3, 5, 8]);
const inputs = new Map([["x", x]]);

/** A graph of x [N, 5, 8], and what a Gather of an entry of what `body` makes gives. */
function graphOf(body: (build: Builder, x: string) => string, indices: Tensor = scalar("int64", 2), axis = 1): Graph {
  const build = buildOn();
  const value = body(build, build.input("x", { dtype: "float32", shape: ["N", 5, 8] }));
  return build.graph([build.node("Gather", [value, build.constant(indices)], { axis })]);
}

const linear = (build: Builder, from: string, sizes: readonly [number, number], seed: number): string => {
  const product = build.node("MatMul", [from, build.constant(filled(sizes, seed))], {}, `linear${seed}`);
  return build.node("Add", [build.constant(filled([sizes[1]], seed)), product], {}, `bias${seed}`);
};

const normalize = (build: Builder, from: string): string =>
  build.node("LayerNormalization", [from, build.constant(filled([8])), build.constant(filled([8], 2))], { axis: -1 });

/** A block of an encoder after its attention: what it reads is read twice. */
function feedForward(build: Builder, from: string): string {
  const wide = linear(build, from, [8, 16], 3);
  const active = build.node("Mul", [wide, build.node("Sigmoid", [wide])]);
  return normalize(build, build.node("Add", [linear(build, active, [16, 8], 4), from]));
}

/** Nodes that compute one entry, by name. */
const ofOneEntry = ({ nodes, values }: Graph): readonly string[] =>
  nodes.flatMap(({ name, op, outputs: [output] }) =>
    op !== "Gather" && values.get(output)?.shape[1] === 1 ? [name] : [],
  );

/** ONNX Runtime runs the graph as it was, the reference engine the other. */
async function expectSame(graph: Graph): Promise<Graph> {
  const early = gatherEarly(graph);
  const expected = await runGraph(selectEngine("onnxruntime"), graph, inputs);
  const actual = await runGraph(selectEngine("reference"), early, inputs);
  for (const output of graph.outputs) expectClose(actual.get(output) as Tensor, expected.get(output) as Tensor);
  expect(early.outputs.map((output) => early.values.get(output))).toEqual(
    graph.outputs.map((output) => graph.values.get(output)),
  );
  return early;
}

describe("gatherEarly", () => {
  test("what is computed entry by entry is computed for the one that is read", async () => {
    const early = await expectSame(
      graphOf((build, from) => feedForward(build, build.node("Softmax", [normalize(build, from)], { axis: 1 }, "mix"))),
    );
    expect(ofOneEntry(early)).toEqual([
      "linear3",
      "bias3",
      "Sigmoid",
      "Mul",
      "linear4",
      "bias4",
      "Add",
      "LayerNormalization_1",
    ]);
    // Once for both readers.
    expect(early.nodes.filter(({ op }) => op === "Gather")).toHaveLength(2);
  });

  const kept: readonly (readonly [string, Graph])[] = [
    ["entries are mixed", graphOf((build, from) => build.node("Softmax", [from], { axis: 1 }))],
    ["sizes are said", graphOf((build, from) => build.node("Reshape", [from, build.ints([-1, 10, 4])]))],
    ["two entries are read", graphOf(feedForward, tensorOf("int64", [2], [0, 2]))],
    ["nothing is computed", graphOf((_, from) => from)],
  ];
  test.each(kept)("nothing changes where %s", async (_, graph) => {
    expect(gatherEarly(graph)).toBe(graph);
  });

  test("a value that an output or another reader wants is computed in full", async () => {
    const build = buildOn();
    const from = build.input("x", { dtype: "float32", shape: ["N", 5, 8] });
    const [wanted, summed] = [feedForward(build, from), linear(build, from, [8, 8], 7)];
    const last = linear(build, build.node("Add", [wanted, summed]), [8, 8], 8);
    const chosen = build.node("Gather", [last, build.constant(scalar("int64", -1))], { axis: 1 });
    const early = await expectSame(build.graph([chosen, wanted, build.node("ReduceSum", [summed], { keepdims: 0 })]));
    expect(ofOneEntry(early)).toEqual(["Add_1", "linear8", "bias8"]);
  });

  const others: readonly (readonly [string, Graph])[] = [
    ["an index in a list", graphOf(feedForward, tensorOf("int64", [1], [3]))],
    ["an index from the end", graphOf(feedForward, scalar("int64", -2))],
    ["an index of 32 bits", graphOf(feedForward, scalar("int32", 4))],
    ["a sample", graphOf(feedForward, scalar("int64", 1), 0)],
    ["a column", graphOf((build, from) => linear(build, from, [8, 5], 6), scalar("int64", 1), 2)],
    [
      "positions added",
      graphOf((build, from) => build.node("Add", [build.constant(filled([5, 8])), build.node("Relu", [from])])),
    ],
    [
      "a number broadcast",
      graphOf((build, from) => build.node("Mul", [build.node("Relu", [from]), build.constant(filled([1, 8]))])),
    ],
    [
      "one mask of all",
      graphOf((build, from) =>
        build.node("Mul", [build.node("ReduceMean", [from, build.ints([1])]), build.node("Relu", [from])]),
      ),
    ],
    [
      "equal sizes",
      graphOf((build, from) =>
        build.node("MatMul", [build.node("Relu", [from]), build.node("Transpose", [from], { perm: [0, 2, 1] })]),
      ),
    ],
    [
      "a Gather of a Gather",
      graphOf((build, from) => {
        const planes = build.node("Unsqueeze", [build.node("Relu", [from]), build.ints([3])]);
        return build.node("Gather", [build.node("Abs", [planes]), build.constant(scalar("int64", 0))], { axis: 3 });
      }),
    ],
    [
      "two entries of one value",
      graphOf((build, from) => {
        const value = feedForward(build, from);
        const other = build.node("Gather", [value, build.constant(tensorOf("int64", [1], [4]))], { axis: 1 });
        return build.node("Add", [build.node("Abs", [value]), other]);
      }),
    ],
  ];
  test.each(others)("the outputs stay: %s", async (_, graph) => {
    await expectSame(graph);
  });
});
