// Every operator on every engine, against the reference engine in float64.
import * as web from "onnxruntime-web";
import { describe, expect, test } from "vitest";
import { runtimeOf } from "../../src/browser/runtime.ts";
import type { Engine } from "../../src/engines/engine.ts";
import { nativeOps } from "../../src/engines/native/lowerings/index.ts";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { encodeGraph } from "../../src/engines/onnxruntime/encode-graph.ts";
import { lower } from "../../src/engines/onnxruntime/lower.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createSession } from "../../src/engines/onnxruntime/session.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { opTypes } from "../../src/ops/index.ts";
import { type Example, titleOf } from "../operators/examples/example.ts";
import { examples } from "../operators/examples/index.ts";
import { type CloseOptions, expectClose } from "../support/close.ts";
import { isNativeBuilt, notBuilt } from "../support/native.ts";
import { engineExamples } from "./engine-examples.ts";
import { type Case, caseOf, cast } from "./example-case.ts";

type Run = (given: Case) => Promise<readonly Tensor[]>;

const runOn =
  (engine: Engine, threads = 1): Run =>
  async ({ graph, inputs }) => {
    const executable = await engine.compile(graph, { threads });
    const results = await executable.bind(await engine.variables(new Map())).run(inputs);
    await executable.dispose();
    return graph.outputs.map((name) => results.get(name) as Tensor);
  };

/** The same lowering without blocked convolutions, as on processors and builds that have none. */
const runWithoutBlocks: Run = async ({ graph, inputs }) => {
  const lowered = lower(graph, { block: 0 });
  const session = await createSession(encodeGraph(lowered.graph), { threads: 1 });
  const results = await session.run(new Map([...inputs].filter(([name]) => lowered.graph.inputs.includes(name))));
  await session.dispose();
  return graph.outputs.map((name) => results.get(lowered.outputs.get(name) ?? "") as Tensor);
};

const reference = runOn(createReferenceEngine());

/** Sums of many float32 products and quotients of sums that cancel. */
const widened = new Map<string, CloseOptions["widen"]>([
  ...["Conv", "ConvGradientInput", "ConvGradientWeight"].map(
    (op) => [op, { factor: 4, because: "sums hundreds of float32 products" }] as const,
  ),
  ["FakeQuantizeGradient", { factor: 200, because: "dscale is a difference of two sums of thousands of products" }],
  ["ReduceSum", { factor: 8, because: "some runtimes add thousands of float32 one after the other" }],
  ["BatchNormalizationTraining", { factor: 8, because: "the variance is a difference of float32 means" }],
  ["BatchNormalizationTrainingGradient", { factor: 8, because: "dgamma is a difference of float32 sums" }],
]);

/** What was computed from float32 inputs is no more exact than these, whatever it is cast to. */
const toleranceOf = ({ dtype }: Tensor): Tensor["dtype"] => (dtype === "float64" ? "float32" : dtype);

/** Why an example is left out; `undefined` where it is not. */
type Skip = (example: Example) => string | undefined;

function testEngine(name: string, run: Run, skip: Skip = () => undefined): void {
  const all = [...examples, ...engineExamples].map((example, i) => [`${i}: ${titleOf(example)}`, example] as const);
  describe(`${name} agrees with the reference engine`, () => {
    for (const [title, example] of all) {
      const reason = skip(example);
      test.skipIf(reason !== undefined)(reason === undefined ? title : `${title} (${reason})`, async () => {
        const actual = await run(caseOf(example, "float32"));
        const expected = await reference(caseOf(example, "float64"));
        const widen = widened.get(example.op);
        actual.forEach((output, i) => {
          const wanted = cast(output.dtype === "float64" ? "float64" : "float32")(expected[i]) as Tensor;
          expectClose(output, wanted, {
            what: `${example.op} output ${i}`,
            as: toleranceOf(output),
            ...(widen ? { widen } : {}),
          });
        });
      });
    }
  });
}

testEngine("the reference engine in float32", reference);
testEngine("the onnxruntime engine", runOn(createOnnxRuntimeEngine()));
testEngine("the onnxruntime engine without blocks", runWithoutBlocks);

const whyNotOnWebAssembly: Skip = ({ op, inputs, attributes }) =>
  op === "Einsum" && attributes?.["equation"] === "bij,bjk->bik" && inputs[0]?.shape[0] === 1
    ? "onnxruntime-web 1.30 takes the size of a repeated letter from its first operand, though 1 repeats"
    : undefined;

web.env.wasm.numThreads = 1;
testEngine("the onnxruntime engine on WebAssembly", runOn(runtimeOf(web).engine), whyNotOnWebAssembly);

const native = createNativeEngine();
const isRefused = ({ graph }: Case): boolean => graph.nodes.some((node) => !native.supports(node, graph));

const whyNotNative: Skip = (example) => {
  if (!isNativeBuilt) return notBuilt;
  return isRefused(caseOf(example, "float32")) ? "the native engine has no such operator" : undefined;
};

testEngine("the native engine", runOn(native), whyNotNative);
testEngine("the native engine on 3 threads", runOn(native, 3), whyNotNative);

test("the native engine runs every example but those whose result has a size that only a run knows", () => {
  const tested = [...examples, ...engineExamples];
  const refused = tested.filter((example) => isRefused(caseOf(example, "float32"))).map(titleOf);
  expect(refused).toEqual(["NonZero", "Range, backwards"]);
});

test("the native engine lacks operators that are known before a run, and NonZero, whose result has no known size", () => {
  const lacking = opTypes.filter((op) => !nativeOps.has(op));
  expect(lacking.toSorted()).toEqual(["Constant", "NonZero", "Shape", "Size"]);
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
