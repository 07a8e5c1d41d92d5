import { expect, test } from "vitest";
import { createRandom } from "../../../test/support/random.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import { buildOn } from "../../ops/infer.ts";
import { quantizeOptions } from "../../quantizers/quantize-options.ts";
import { choicesOf } from "./choices.ts";
import { withDivergence } from "./replace-weights.ts";
import { forEachTail } from "./tails.ts";

const context = { engine: createReferenceEngine(), seed: 0 };

/** Seven layers: a value that passes three of them by, a shape that follows from the input's, and a weight that two layers share. */
function network() {
  const random = createRandom(4);
  const build = buildOn();
  const input = build.input("input", { dtype: "float32", shape: ["n", 4] });
  const weight = (name: string, shape: readonly number[]): string =>
    build.constant(random.tensor("float32", shape), name);
  const layer = (x: string, w: string): string => build.node("Relu", [build.node("MatMul", [x, w])]);
  const shared = weight("shared", [4, 4]);
  const first = layer(layer(input, weight("w0", [4, 4])), shared);
  let x = first;
  for (const i of [1, 2, 3]) x = layer(x, weight(`w${i}`, [4, 4]));
  x = build.node("Add", [x, first]);
  x = build.node("Reshape", [x, build.node("Shape", [x])]);
  x = layer(x, shared);
  return build.graph([build.node("MatMul", [x, weight("w4", [4, 3])])]);
}

/** Ten layers; outputs are given after the second, the last and the fifth: no weight moves all, and those of the first move least. */
function severalOutputs() {
  const random = createRandom(6);
  const build = buildOn();
  const values = [build.input("input", { dtype: "float32", shape: ["n", 4] })];
  for (let i = 0; i < 10; i++) {
    const weight = build.constant(random.tensor("float32", [4, 4]), `w${i}`);
    values.push(build.node("Tanh", [build.node("MatMul", [values[i], weight])]));
  }
  return build.graph([values[2], values[10], values[5]]);
}

test.each([
  ["one output", network],
  ["several outputs, of which tails start behind some", severalOutputs],
])("a replaced weight moves the outputs by the same in a tail as in the whole graph: %s", async (_, networkOf) => {
  const graph = networkOf();
  const { free } = choicesOf(graph, quantizeOptions.parse({ placement: "inputs" }), [2, 3]);
  const random = createRandom(5);
  const batches = [3, 2].map((n) => new Map([["input", random.tensor("float32", [n, 4])]]));
  const subject = { graph, weights: free.map(({ weight }) => weight), batches };
  const replacements = free.flatMap(({ weight, rounded }) => [...rounded.values()].map((value) => ({ weight, value })));
  const whole = new Map<unknown, number>();
  await withDivergence(subject, context, async (measure) => {
    for (const { weight, value } of replacements) whole.set(value, await measure(new Map([[weight, value]])));
  });
  const [found, sizes] = [new Map<unknown, number>(), [] as number[]];
  await forEachTail({ graph, batches, choices: free }, context, (choices, tail) =>
    withDivergence(tail, context, async (measure) => {
      sizes.push(tail.graph.nodes.length);
      for (const { weight, rounded } of choices)
        for (const value of rounded.values()) found.set(value, await measure(new Map([[weight, value]])));
    }),
  );
  expect([...found]).toEqual(expect.arrayContaining([...whole]));
  expect(found.size).toBe(whole.size);
  expect([...whole.values()].every((each) => each > 0)).toBe(true);
  expect(sizes.length).toBeGreaterThan(2);
  expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
  expect(sizes.at(-1)).toBeLessThanOrEqual(sizes[0] / 2);
});
