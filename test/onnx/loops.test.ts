// Loop of which the file states how often it runs: what ONNX Runtime makes of the file, and what is read of it.
import { create } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
  type NodeProto,
} from "onnx-buf";
import { describe, expect, test } from "vitest";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { expectClose } from "../support/close.ts";
import {
  bool,
  DataType,
  int,
  modelBytes,
  node,
  shapeless,
  tensorProto,
  value,
  weights,
} from "../support/onnx-model.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import { runModel } from "../support/run-model.ts";

const count = (name: string, times: number) =>
  tensorProto({ name, dims: [], dataType: DataType.INT64, int64Data: [BigInt(times)] });

interface Body {
  readonly nodes: readonly NodeProto[];
  /** The condition, what is carried on, and what each run gives. */
  readonly outputs: readonly string[];
  readonly carried?: readonly string[];
  readonly initializers?: readonly ReturnType<typeof weights>[];
}

const body = ({ nodes, outputs, carried = ["h"], initializers = [] }: Body): AttributeProto =>
  create(AttributeProtoSchema, {
    type: AttributeProto_AttributeType.GRAPH,
    g: create(GraphProtoSchema, {
      name: "body",
      input: [
        value("trip", [], DataType.INT64),
        value("goes", [], DataType.BOOL),
        ...carried.map((name) => shapeless(name, DataType.FLOAT)),
      ],
      node: [...nodes],
      initializer: [...initializers],
      output: outputs.map((name, i) => shapeless(name, i === 0 ? DataType.BOOL : DataType.FLOAT)),
    }),
  });

/** h ← tanh(w h + trip + x), and what each run has before its Tanh. */
const step = (opset: number) =>
  body({
    nodes: [
      node("Mul", ["h", "w"], ["m"]),
      node("Cast", ["trip"], ["t"], { to: int(DataType.FLOAT) }),
      node("Add", ["m", "t"], ["a"]),
      node("Add", ["a", "x"], ["seen"], {}, { name: "second" }),
      node("Tanh", ["seen"], ["next"]),
      node("Identity", ["goes"], ["on"]),
    ],
    outputs: ["on", "next", "seen"],
    initializers: [weights("w", [1], [opset / 20])],
  });

const x: Tensor = createRandom(2).tensor("float32", [1, 2, 4, 4]);

async function check(
  nodes: readonly NodeProto[],
  initializers: ReturnType<typeof bool>[],
  { outputs = ["y"], opset = 17 } = {},
): Promise<Graph> {
  const bytes = modelBytes({
    nodes,
    initializers,
    outputs: outputs.map((name) => shapeless(name, DataType.FLOAT)),
    opset,
  });
  const { graph } = readOnnx(bytes, { name: "loops.onnx" });
  expect(graph.nodes.some(({ op }) => op === "Loop" || op === "If")).toBe(false);
  const inputs = new Map([["x", x]]);
  const found = await runGraph(createReferenceEngine(), graph, inputs);
  const expected = await runModel(bytes, inputs);
  for (const name of outputs) expectClose(found.get(name) as Tensor, expected.get(name) as Tensor);
  return graph;
}

describe("Loop of which the file states how often it runs", () => {
  test.each([11, 13, 17])("is its body as often, opset %i", async (opset) => {
    const loop = node("Loop", ["n", "c", "x"], ["y", "all"], { body: step(opset) }, { name: "loop" });
    await check([loop], [count("n", 3), bool("c", true)], { outputs: ["y", "all"], opset });
  });

  test("without a condition, or with one that a Constant in the body states", async () => {
    const always = create(AttributeProtoSchema, {
      type: AttributeProto_AttributeType.TENSOR,
      t: bool("", true),
    });
    const doubled = body({
      nodes: [node("Constant", [], ["on"], { value: always }), node("Add", ["h", "x"], ["next"])],
      outputs: ["on", "next"],
    });
    await check([node("Loop", ["n", "", "x"], ["y"], { body: doubled })], [count("n", 4)]);
  });

  test("as a Constant's number, with one copy of the body's weights for all runs", async () => {
    const times = node("Constant", [], ["n"], { value_int: int(3) });
    const loop = node("Loop", ["n", "", "x"], ["y", "all"], { body: step(17) }, { name: "loop" });
    const { constants } = await check([times, loop], [], { outputs: ["y", "all"] });
    const copies = [...constants.values()].filter(({ data }) => data[0] === Math.fround(17 / 20));
    expect(copies).toHaveLength(1);
  });

  test("without a node, or a few times within many", async () => {
    const passing = body({ nodes: [], outputs: ["goes", "h"] });
    await check([node("Loop", ["n", "", "x"], ["y"], { body: passing })], [count("n", 3)]);
    const refused = (times: number, nodes: readonly NodeProto[]) =>
      expect(() => readOnnx(modelBytes({ nodes, initializers: [count("n", times)] }), { name: "loops.onnx" })).toThrow(
        "Loop (node",
      );
    refused(2 ** 53, [node("Loop", ["n", "", "x"], ["y"], { body: passing }, { name: "loop" })]);
    const inner = node("Loop", ["n", "", "h"], ["next"], { body: step(17) }, { name: "inner" });
    const outer = body({ nodes: [inner], outputs: ["goes", "next"] });
    refused(200, [node("Loop", ["n", "", "x"], ["y"], { body: outer }, { name: "loop" })]);
  });

  test("once where the body says that it ends, and never where the file says so", async () => {
    const once = body({
      nodes: [node("Not", ["goes"], ["on"]), node("Add", ["h", "x"], ["next"])],
      outputs: ["on", "next"],
    });
    await check([node("Loop", ["n", "c", "x"], ["y"], { body: once })], [count("n", 5), bool("c", true)]);
    await check([node("Loop", ["", "c", "x"], ["y"], { body: once })], [bool("c", true)]);
    await check([node("Loop", ["n", "c", "x"], ["y"], { body: once })], [count("n", 5), bool("c", false)]);
    await check([node("Loop", ["n", "c", "x"], ["y"], { body: once })], [count("n", 0), bool("c", true)]);
  });

  test("within another, whose value it reads", async () => {
    const inner = body({
      nodes: [
        node("Add", ["k", "outer"], ["sum"]),
        node("Sigmoid", ["sum"], ["next"]),
        node("Identity", ["goes"], ["on"]),
      ],
      carried: ["k"],
      outputs: ["on", "next"],
    });
    const outer = body({
      nodes: [
        node("Neg", ["h"], ["outer"]),
        node("Loop", ["n", "goes", "h"], ["result"], { body: inner }, { name: "inner" }),
        node("Identity", ["goes"], ["continues"], {}, { name: "last" }),
      ],
      outputs: ["continues", "result"],
    });
    await check([node("Loop", ["n", "", "x"], ["y"], { body: outer })], [count("n", 2)]);
  });

  test("is refused where that is computed, or comes to too many nodes", () => {
    const read = (nodes: readonly NodeProto[], initializers: ReturnType<typeof count>[]) =>
      readOnnx(modelBytes({ nodes, initializers }), { name: "loops.onnx" });
    const loop = (opset: number) => node("Loop", ["n", "", "x"], ["y", "all"], { body: step(opset) }, { name: "loop" });
    const reason = 'Loop (node "loop"): control flow is not handled but where the file states how often it runs';
    expect(() => read([node("Size", ["x"], ["n"]), loop(17)], [])).toThrow(reason);
    expect(() => read([loop(17)], [count("n", 1_000_000)])).toThrow(reason);
    const whole = body({
      nodes: [
        node("ReduceMax", ["h"], ["m"], { keepdims: int(0) }),
        node("Cast", ["m"], ["on"], { to: int(DataType.BOOL) }),
        node("Neg", ["h"], ["next"]),
      ],
      outputs: ["on", "next"],
    });
    expect(() =>
      read([node("Loop", ["n", "", "x"], ["y"], { body: whole }, { name: "loop" })], [count("n", 3)]),
    ).toThrow(reason);
  });
});
