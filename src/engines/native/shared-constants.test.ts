import { expect, test } from "vitest";
import { isNativeBuilt } from "../../../test/support/native.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import type { Graph } from "../../ir/graph.ts";
import { type Tensor, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { storedTensor } from "../../ir/tensor-source.ts";
import { buildOn } from "../../ops/infer.ts";
import { createNativeEngine } from "./native-engine.ts";

/** Weights in a file, and how often they were read. */
function countedReads(elements: number, value: number) {
  let reads = 0;
  const weights = storedTensor("float32", [elements], () => {
    reads++;
    return new Float32Array(elements).fill(value);
  });
  return { weights, reads: () => reads };
}

function graphOf(op: string, weights: Tensor): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [1] });
  return build.graph([build.node("ReduceMax", [build.node(op, [x, build.constant(weights)])], { keepdims: 0 })]);
}

const inputs = new Map([["x", tensorOf("float32", [1], [3])]]);
const kept = 2 ** 26;

test.skipIf(!isNativeBuilt)("plans that read the same constant share its memory, which stays for a while", async () => {
  const engine = createNativeEngine();
  const run = async (op: string, weights: Tensor): Promise<readonly number[]> => {
    const { outputs } = graphOf(op, weights);
    return toNumbers((await runGraph(engine, graphOf(op, weights), inputs)).get(outputs[0]) as Tensor);
  };
  const { weights, reads } = countedReads(2 ** 15, 2);
  expect([await run("Add", weights), await run("Mul", weights)]).toEqual([[5], [6]]);
  expect(reads()).toBe(1);
  const both = await engine.compile(graphOf("Sub", weights));
  // More than is kept: the oldest that nobody uses goes, what a plan reads stays.
  const others = [3, 4].map((value) => countedReads(kept / 8 + 1, value));
  for (const { weights: large } of others) await run("Add", large);
  expect(await run("Add", others[1].weights)).toEqual([7]);
  expect(await run("Add", others[0].weights)).toEqual([6]);
  expect(others.map((other) => other.reads())).toEqual([2, 1]);
  expect(await run("Add", weights)).toEqual([5]);
  expect(reads()).toBe(1);
  await both.dispose();
});
