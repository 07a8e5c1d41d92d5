// Every operator on every engine, against the reference engine in float64.
import * as web from "onnxruntime-web";
import { describe, expect, test } from "vitest";
import { runtimeOf } from "../../src/browser/runtime.ts";
import { nativeOps } from "../../src/engines/native/lowerings/index.ts";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { encodeGraph } from "../../src/engines/onnxruntime/encode-graph.ts";
import { lower } from "../../src/engines/onnxruntime/lower.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createSession } from "../../src/engines/onnxruntime/session.ts";
import { type EngineKey, engineEntries, engines } from "../../src/engines/table.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { opTypes } from "../../src/ops/index.ts";
import { titleOf } from "../operators/examples/example.ts";
import { examples } from "../operators/examples/index.ts";
import { engineExamples } from "./engine-examples.ts";
import { type Case, caseOf } from "./example-case.ts";
import { type Run, runOn, type Skip, testEngine } from "./test-engine.ts";

/** The same lowering without blocked convolutions, as on processors and builds that have none. */
const runWithoutBlocks: Run = async ({ graph, inputs }) => {
  const lowered = lower(graph, { block: 0 });
  const session = await createSession(encodeGraph(lowered.graph), { threads: 1 });
  const results = await session.run(new Map([...inputs].filter(([name]) => lowered.graph.inputs.includes(name))));
  await session.dispose();
  return graph.outputs.map((name) => results.get(lowered.outputs.get(name) ?? "") as Tensor);
};

const native = createNativeEngine();
const isRefused = ({ graph }: Case): boolean => graph.nodes.some((node) => !native.supports(node, graph));

const nothing: Skip = () => undefined;

/** What each engine leaves out, with the reason. */
const leftOut: Readonly<Record<EngineKey, Skip>> = {
  onnxruntime: nothing,
  native: (example) => (isRefused(caseOf(example, "float32")) ? "the native engine has no such operator" : undefined),
  reference: nothing,
};

/** Engines that are not built here are left out as a whole. */
const whyNot =
  (name: EngineKey): Skip =>
  (example) =>
    engines[name].isAvailable() ? leftOut[name](example) : `the ${name} engine cannot run here: see frostbit doctor`;

for (const [name, { create }] of engineEntries) testEngine(`the ${name} engine`, runOn(create()), whyNot(name));

testEngine("the onnxruntime engine without blocks", runWithoutBlocks);

const whyNotOnWebAssembly: Skip = ({ op, inputs, attributes }) =>
  op === "Einsum" && attributes?.["equation"] === "bij,bjk->bik" && inputs[0]?.shape[0] === 1
    ? "onnxruntime-web 1.30 takes the size of a repeated letter from its first operand, though 1 repeats"
    : undefined;

web.env.wasm.numThreads = 1;
testEngine("the onnxruntime engine on WebAssembly", runOn(runtimeOf(web).engine), whyNotOnWebAssembly);

testEngine("the native engine on 3 threads", runOn(native, 3), whyNot("native"));

const recurrentOps: string[] = ["GRU", "LSTM", "RNN"];

test("the native engine runs every example but recurrent layers, fractional powers of integers, levels that are no constants and sizes that only a run knows", () => {
  const tested = [...examples, ...engineExamples].filter(({ op }) => !recurrentOps.includes(op));
  const refused = tested.filter((example) => isRefused(caseOf(example, "float32"))).map(titleOf);
  expect(refused).toEqual([
    ...["NonZero", "LevelQuantize, axis=1, bits=3", "LevelQuantize, a scale for all", "LevelDequantize, axis=0"],
    ...["Range, backwards", "Pow, int64 to a fraction"],
  ]);
});

test("the native engine lacks operators that are known before a run, recurrent layers, and NonZero, whose result has no known size", () => {
  const lacking = opTypes.filter((op) => !nativeOps.has(op));
  expect(lacking.filter((op) => !recurrentOps.includes(op)).toSorted()).toEqual([
    "Constant",
    "LevelDequantize",
    "LevelQuantize",
    "NonZero",
    "Shape",
    "Size",
  ]);
  expect(lacking).toEqual(expect.arrayContaining(recurrentOps));
});

const inOnnxRuntime = createOnnxRuntimeEngine();

describe("the onnxruntime engine runs in float64 what it says it supports in float64", () => {
  const doubles = [...examples, ...engineExamples]
    .map((example, i) => ({ title: `${i}: ${titleOf(example)}`, given: caseOf(example, "float64") }))
    .filter(({ given: { graph } }) => graph.nodes.every((node) => inOnnxRuntime.supports(node, graph)));
  test.each(doubles)("$title", async ({ given }) => {
    expect(await runOn(inOnnxRuntime)(given)).toHaveLength(given.graph.outputs.length);
  });
});
