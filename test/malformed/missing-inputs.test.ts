// Nodes without an input that their operator must have.
import { describe, expect, test } from "vitest";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { FrostbitError } from "../../src/ir/errors.ts";
import type { Node } from "../../src/ir/graph.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { upgrades } from "../../src/onnx/upgrade/index.ts";
import { isOwn } from "../../src/ops/index.ts";
import { inferTypes } from "../../src/passes/infer-types.ts";
import { engineExamples } from "../engines/engine-examples.ts";
import { caseOf } from "../engines/example-case.ts";
import type { Example } from "../operators/examples/example.ts";
import { examples } from "../operators/examples/index.ts";
import { modelBytes, node as nodeOf } from "../support/onnx-model.ts";

const byOperator = new Map<string, Example[]>();
for (const example of [...examples, ...engineExamples])
  byOperator.set(example.op, [...(byOperator.get(example.op) ?? []), example]);

/** The node with each input left out, and with all from it on. */
const without = (node: Node): readonly Node[] =>
  node.inputs.flatMap((_, i) => [
    { ...node, inputs: node.inputs.with(i, "") },
    { ...node, inputs: node.inputs.slice(0, i) },
  ]);

async function runWithout(example: Example): Promise<void> {
  const { graph, inputs } = caseOf(example, "float32");
  const engine = createReferenceEngine();
  for (const node of without(graph.nodes[0])) {
    try {
      const executable = await engine.compile(inferTypes({ ...graph, nodes: [node] }));
      await executable.bind(await engine.variables(new Map())).run(inputs);
    } catch (error) {
      expect(error, `inputs ${JSON.stringify(node.inputs)}`).toBeInstanceOf(FrostbitError);
    }
  }
}

describe("an input that is missing is refused by its name, or can be left out", () => {
  test.each([...byOperator].filter(([op]) => !isOwn(op)))("%s", async (_, cases) => {
    for (const example of cases) await runWithout(example);
  });
});

/** Inputs that no operator has all of. */
const fewInputs = [[], [""], ["x"], ["", "x"], ["x", ""], ["x", "x"], ["x", "", "x"], ["x", "x", "", "x"]];

describe("operators of older opsets without inputs are refused, and never crash what upgrades them", () => {
  test.each(Object.keys(upgrades))("%s", (op) => {
    for (const opset of [7, 10, 12, 17, 20, 23])
      for (const inputs of fewInputs)
        try {
          readOnnx(modelBytes({ opset, nodes: [nodeOf(op, inputs, ["y"])] }), { name: "few.onnx" });
        } catch (error) {
          expect(error, `opset ${opset}, inputs ${JSON.stringify(inputs)}`).toBeInstanceOf(FrostbitError);
        }
  });
});
