// If with a condition that the file states: what ONNX Runtime makes of the file, and what is read of it.
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
import type { Tensor } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { expectClose } from "../support/close.ts";
import { bool, DataType, int, modelBytes, node, shapeless, weights } from "../support/onnx-model.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import { runModel } from "../support/run-model.ts";

const branch = (nodes: readonly NodeProto[], output: string, initializers = [weights("w", [1], [3])]): AttributeProto =>
  create(AttributeProtoSchema, {
    type: AttributeProto_AttributeType.GRAPH,
    g: create(GraphProtoSchema, {
      name: output,
      node: [...nodes],
      initializer: [...initializers],
      output: [shapeless(output, DataType.FLOAT)],
    }),
  });

const choose = (
  condition: string,
  output: string,
  name: string,
  then: AttributeProto,
  other: AttributeProto,
): NodeProto => node("If", [condition], [output], { then_branch: then, else_branch: other }, { name });

/** Both branches have a value and a constant of the same names, and read one from outside. */
const scaled = branch([node("Mul", ["h", "w"], ["inner"]), node("Relu", ["inner"], ["r"])], "r");
const shifted = branch([node("Add", ["h", "w"], ["inner"]), node("Tanh", ["inner"], ["r"])], "r", [
  weights("w", [1], [-0.5]),
]);

const negated = branch([node("Neg", ["h"], ["r3"])], "r3", []);

/** Reads what the branch around it computes. */
const readsInner = branch([node("Sub", ["inner", "h"], ["q"]), node("Exp", ["q"], ["r2"])], "r2", []);

const x: Tensor = createRandom(2).tensor("float32", [1, 2, 4, 4]);

async function check(nodes: readonly NodeProto[], initializers: ReturnType<typeof bool>[]): Promise<void> {
  const bytes = modelBytes({
    nodes: [node("Neg", ["x"], ["h"]), ...nodes],
    initializers,
    outputs: [shapeless("y", DataType.FLOAT)],
  });
  const { graph } = readOnnx(bytes, { name: "branches.onnx" });
  expect(graph.nodes.some(({ op }) => op === "If")).toBe(false);
  const inputs = new Map([["x", x]]);
  const found = (await runGraph(createReferenceEngine(), graph, inputs)).get("y") as Tensor;
  expectClose(found, (await runModel(bytes, inputs)).get("y") as Tensor);
}

describe("If with a condition that the file states", () => {
  test.each([true, false])("is the branch for %s, of an initializer", async (value) => {
    await check([choose("c", "y", "if", scaled, shifted)], [bool("c", value)]);
  });

  test.each([true, false])("is the branch for %s, of a Constant behind Identity and Not", async (given) => {
    const constant = create(AttributeProtoSchema, { type: AttributeProto_AttributeType.TENSOR, t: bool("", given) });
    const made = [
      node("Constant", [], ["k"], { value: constant }),
      node("Identity", ["k"], ["i"]),
      node("Not", ["i"], ["c"]),
    ];
    await check([...made, choose("c", "y", "if", scaled, shifted)], []);
  });

  test("twice, one within the other", async () => {
    const inside = branch([node("Mul", ["h", "w"], ["inner"]), choose("d", "r", "inside", readsInner, negated)], "r");
    await check(
      [
        choose("c", "z", "first", inside, shifted),
        choose("c", "u", "second", shifted, scaled),
        node("Add", ["z", "u"], ["y"]),
      ],
      [bool("c", true), bool("d", true)],
    );
  });

  test("that is computed is refused with the reason", () => {
    const computed = [node("ReduceSum", ["x"], ["s"], {}), node("Cast", ["s"], ["c"], { to: int(DataType.BOOL) })];
    const bytes = modelBytes({ nodes: [...computed, choose("c", "y", "if", scaled, shifted)] });
    expect(() => readOnnx(bytes, { name: "computed.onnx" })).toThrow(
      'If (node "if"): control flow is not handled but where the file states the condition',
    );
  });
});
