import { test } from "vitest";
import { expectClose } from "../../../../test/support/close.ts";
import { createRandom } from "../../../../test/support/random.ts";
import { runGraph } from "../../../../test/support/run-graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../../../ir/tensor.ts";
import { buildOn } from "../../../ops/infer.ts";
import { createOnnxRuntimeEngine } from "../onnxruntime-engine.ts";

const channels = 16;
const shape = [4, channels, 6, 6];

/** Mean 1000, deviation 1. */
function farFromZero(): Tensor {
  const values = createRandom(71).tensor("float64", shape).data as Float64Array;
  return tensorOf(
    "float32",
    shape,
    Array.from(values, (value) => 1000 + value),
  );
}

/** Biased, in float64. */
function varianceOf(x: Tensor, channel: number): number {
  const values = Array.from(numbersOf(x)).filter((_, i) => Math.floor(i / 36) % channels === channel);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
}

test.each([false, true])("a variance far smaller than the mean is kept, behind a convolution: %s", async (isBehind) => {
  const build = buildOn();
  const constant = (each: readonly number[], values: readonly number[]): string =>
    build.constant(tensorOf("float32", each, values));
  const input = build.input("x", { dtype: "float32", shape });
  const identity = Array.from({ length: channels ** 2 }, (_, i) => (i % (channels + 1) === 0 ? 1 : 0));
  const x = isBehind
    ? build.node("Conv", [input, constant([channels, channels, 1, 1], identity)], { kernel_shape: [1, 1] })
    : input;
  const parameters = [1, 0].map((value) => constant([channels], new Array<number>(channels).fill(value)));
  const outputs = build.nodes("BatchNormalizationTraining", [x, ...parameters], [true, true, true], { epsilon: 1e-5 });
  const given = farFromZero();
  const results = await runGraph(createOnnxRuntimeEngine(), build.graph(outputs), new Map([["x", given]]));
  const expected = Array.from({ length: channels }, (_, channel) => varianceOf(given, channel));
  expectClose(numbersOf(results.get(outputs[2]) as Tensor), expected, {
    as: "float32",
    widen: { factor: 10, because: "the mean of numbers near 1000 is rounded" },
  });
});
