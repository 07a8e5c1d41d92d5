// ONNX's own tests of every operator that we read, on the reference engine and on ONNX Runtime through our lowerings.
import { describe, expect, test } from "vitest";
import type { Engine } from "../../src/engines/engine.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { OnnxModel } from "../../src/ir/graph.ts";
import { isHalf, widenTensor } from "../../src/ir/half.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { oldestOpset } from "../../src/onnx/decode-model.ts";
import { upgradedOps } from "../../src/onnx/upgrade/index.ts";
import { isOpType } from "../../src/ops/index.ts";
import { expectClose } from "../support/close.ts";
import { runGraph } from "../support/run-graph.ts";
import { excludedForms, excludedFromOnnxRuntime, excludedOperators } from "./excluded.ts";
import { isInstalled, loadNodeTest, modelOf, nodeTests, operatorsOf, readNodeTest, tensorValue } from "./node-tests.ts";

const isKnown = (op: string): boolean => isOpType(op) || upgradedOps.has(op);

/** Why a test is left out; `undefined` where it is run. */
function whyNot(name: string): string | undefined {
  const model = modelOf(name);
  const opset = Number(model.opsetImport.find(({ domain }) => domain === "")?.version ?? 0);
  if (opset < oldestOpset) return `opset ${opset}; ${oldestOpset} and newer are read`;
  const unknown = operatorsOf(model).find((op) => !isKnown(op));
  if (unknown !== undefined)
    return `${unknown}: ${excludedOperators.get(unknown) ?? "not in the list of what is left out"}`;
  return excludedForms.find(({ pattern }) => pattern.test(name))?.reason;
}

const all = nodeTests.map((name) => ({ name, reason: whyNot(name) }));
const run = all.filter(({ reason }) => reason === undefined).map(({ name }) => name);

async function expectOutputs(name: string, engine: Engine, given: OnnxModel, loaded: ReturnType<typeof loadNodeTest>) {
  const { graph } = given;
  const inputs = new Map(
    loaded.inputs
      .filter((input) => graph.inputs.includes(input.name))
      .map((input) => [input.name, widenTensor(tensorValue(input))]),
  );
  const results = await runGraph(engine, graph, inputs);
  graph.outputs.forEach((output, i) => {
    const expected = tensorValue(loaded.outputs[i]);
    expectClose(results.get(output) as Tensor, widenTensor(expected), {
      ...(isHalf(expected.dtype) ? { as: expected.dtype } : {}),
      what: `${name}: ${output} on the ${engine.name} engine`,
      widen: { factor: 10, because: "the expected outputs were computed in float32" },
    });
  });
}

const reference = createReferenceEngine();
const onnxruntime = createOnnxRuntimeEngine();

describe.skipIf(!isInstalled)("ONNX's node tests (of Debian's package libonnx-testdata, where it is installed)", () => {
  test.each(run)("%s", async (name) => {
    const loaded = loadNodeTest(name);
    const model = readNodeTest(name, loaded);
    await expectOutputs(name, reference, model, loaded);
    if (!excludedFromOnnxRuntime.test(name)) await expectOutputs(name, onnxruntime, model, loaded);
  });

  test("the operators that are left out are those of the list, and nothing in the list is read", () => {
    const unknown = new Set(nodeTests.flatMap((name) => operatorsOf(modelOf(name))).filter((op) => !isKnown(op)));
    expect([...unknown].sort()).toEqual([...excludedOperators.keys()].sort());
    for (const { pattern } of excludedForms)
      expect(
        nodeTests.some((name) => pattern.test(name)),
        `${pattern}`,
      ).toBe(true);
  });

  test("most of them are run, and what is left out says why", () => {
    const reasons = new Map<string, number>();
    for (const { reason } of all) if (reason !== undefined) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    const lines = [...reasons].sort(([, a], [, b]) => b - a).map(([reason, count]) => `  ${count} ${reason}`);
    console.info(`ONNX node tests: ${run.length} run, ${all.length - run.length} left out:\n${lines.join("\n")}`);
    expect(run.length).toBeGreaterThanOrEqual(680);
  });
});
