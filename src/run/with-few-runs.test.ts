import { expect, test } from "vitest";
import type { Engine } from "../engines/engine.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { runEach, stagesFor } from "./with-few-runs.ts";

const width = 4;
const matrixBytes = width * width * 4;

/** Six products, and a value that all stages between the first and the last pass on. */
function network(): Graph {
  const build = buildOn();
  const given = build.input("x", { dtype: "float32", shape: ["batch", width] });
  let x = build.node("Tanh", [given]);
  const skipped = x;
  for (let i = 0; i < 6; i++) {
    const values = Array.from({ length: width ** 2 }, (_, at) => Math.sin(at + i));
    x = build.node("MatMul", [x, build.constant(tensorOf("float32", [width, width], values), `w${i}`)]);
  }
  return build.graph([build.node("Add", [x, skipped]), skipped]);
}

const batchOf = (rows: number, seed: number) => {
  const values = Array.from({ length: rows * width }, (_, i) => Math.cos(i + seed));
  return { seed, inputs: new Map([["x", tensorOf("float32", [rows, width], values)]]) };
};

async function* given(): AsyncGenerator<ReturnType<typeof batchOf>, void, undefined> {
  for (const seed of [0, 1, 2, 3, 4]) yield batchOf(3, seed);
  yield batchOf(2, 5);
}

async function outputsOf(graph: Graph, sizes: Parameters<typeof runEach>[4]) {
  let compiled = 0;
  const reference = createReferenceEngine();
  const engine: Engine = {
    ...reference,
    compile: (of, options) => {
      compiled++;
      return reference.compile(of, options);
    },
  };
  const seen: (readonly [number, readonly (readonly number[])[]])[] = [];
  const use = ({ seed }: { seed: number }, outputs: ReadonlyMap<string, Tensor>): void => {
    seen.push([seed, graph.outputs.map((name) => toNumbers(outputs.get(name)!))]);
  };
  await runEach(graph, given(), { use, reuses: true, phase: "see" }, { engine, seed: 0 }, sizes);
  return { seen, compiled };
}

const whole = { wholeBytes: 2 ** 20, stageBytes: 2 ** 20, heldBytes: 2 ** 20 };

/** Two values of three rows pass between stages. */
const held = 2 * 3 * width * 4;

test.each([
  { matrices: 1, heldBytes: 2 ** 20, groups: 2 },
  { matrices: 2, heldBytes: 2 * held, groups: 4 },
  { matrices: 3, heldBytes: 1, groups: 6 },
])("stages of $matrices matrices, for groups of batches, give what the graph gives", async (sizes) => {
  const graph = network();
  const { matrices, heldBytes, groups } = sizes;
  const expected = await outputsOf(graph, whole);
  const stageBytes = matrices * matrixBytes;
  const found = await outputsOf(graph, { wholeBytes: 0, stageBytes, heldBytes });
  expect(expected.compiled).toBe(1);
  expect(expected.seen.map(([seed]) => seed)).toEqual([0, 1, 2, 3, 4, 5]);
  expect(found.seen).toEqual(expected.seen);
  expect(found.compiled).toBe(groups * stagesFor(graph, batchOf(3, 0).inputs, stageBytes).length);
});
