import { expect, test } from "vitest";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { runStages } from "../run/with-few-runs.ts";
import { cutIntoStages } from "./cut-stages.ts";

const [rows, width] = [3, 4];
const matrixBytes = width * width * 4;

/** Residual blocks, a first and a last product of one matrix, and a shape that only Reshapes read. */
function network(blocks: number): Graph {
  const build = buildOn();
  const matrix = (seed: number, name: string): string =>
    build.constant(
      tensorOf(
        "float32",
        [width, width],
        Array.from({ length: width ** 2 }, (_, i) => Math.sin(i + seed)),
      ),
      name,
    );
  const given = build.input("x", { dtype: "float32", shape: [rows, width] });
  const tied = matrix(100, "tied");
  const shape = build.node("Shape", [given]);
  let x = build.node("MatMul", [given, tied]);
  const skipped = build.node("Tanh", [x]);
  for (let i = 0; i < blocks; i++) {
    const flat = build.node("Reshape", [
      build.node("Tanh", [build.node("MatMul", [x, matrix(i, `w${i}`)])]),
      build.ints([-1]),
    ]);
    x = build.node("Add", [x, build.node("Reshape", [flat, shape])]);
  }
  return build.graph([build.node("MatMul", [build.node("Add", [x, skipped]), tied]), skipped]);
}

const engine = createReferenceEngine();

async function run(graph: Graph, inputs: ReadonlyMap<string, Tensor>): Promise<ReadonlyMap<string, Tensor>> {
  const program = (await engine.compile(graph)).bind(await engine.variables(new Map()));
  return program.run(inputs);
}

const inputs = new Map([
  [
    "x",
    tensorOf(
      "float32",
      [rows, width],
      Array.from({ length: rows * width }, (_, i) => Math.cos(i)),
    ),
  ],
]);

test.each([1, 2, 3, 100])("stages of %d matrices give what the graph gives", async (matrices) => {
  const graph = network(6);
  const stages = cutIntoStages(graph, matrices * matrixBytes + 40);
  expect(stages.length).toBeGreaterThanOrEqual(Math.ceil(8 / matrices));
  expect(stages.length).toBeLessThanOrEqual(9);
  if (matrices === 100) expect(stages.length).toBe(1);
  const floats = (stage: Graph) => [...stage.constants.values()].filter(({ dtype }) => dtype === "float32");
  for (const stage of stages) expect(floats(stage).length).toBeLessThanOrEqual(matrices);
  const staged = await runStages(stages, inputs, graph.outputs, run);
  const whole = await run(graph, inputs);
  for (const output of graph.outputs) expect(toNumbers(staged.get(output)!)).toEqual(toNumbers(whole.get(output)!));
});

test("a place that numbers pass which only a run knows is not cut", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [rows, width] });
  const best = build.node("ArgMax", [x], { axis: 1, keepdims: 0 });
  const table = build.constant(tensorOf("float32", [width, width], new Float64Array(width ** 2)));
  const graph = build.graph([build.node("Gather", [table, best])]);
  expect(cutIntoStages(graph, 1).length).toBe(1);
});

/** Products of matrices that nodes make of constants, all of them before the first product. */
function madeWeights(): Graph {
  const build = buildOn();
  const given = build.input("x", { dtype: "float32", shape: [rows, width] });
  const weights = Array.from({ length: 4 }, (_, i) => {
    const values = Array.from({ length: width ** 2 }, (_, at) => Math.sin(at + i));
    return build.node("Neg", [
      build.node("Tanh", [build.constant(tensorOf("float32", [width, width], values), `w${i}`)]),
    ]);
  });
  const product = weights.reduce((x, weight) => build.node("MatMul", [x, weight]), given);
  return build.graph([build.node("Identity", [product]), weights[2]]);
}

test("weights that nodes make of constants are made in the stage that reads them", async () => {
  const graph = madeWeights();
  const stages = cutIntoStages(graph, matrixBytes);
  expect(stages.map(({ outputs }) => outputs.length)).toEqual([1, 1, 2, 1]);
  const staged = await runStages(stages, inputs, graph.outputs, run);
  const whole = await run(graph, inputs);
  for (const output of graph.outputs) expect(toNumbers(staged.get(output)!)).toEqual(toNumbers(whole.get(output)!));
});

test("a first output that nobody reads is not what another node gives", async () => {
  const build = buildOn();
  const given = build.input("x", { dtype: "float32", shape: [rows, width] });
  const row = build.constant(tensorOf("float32", [1, width], [4, 1, 3, 2]));
  const top = (value: string): readonly string[] =>
    build.nodes("TopK", [value, build.ints([2])], [false, true], { axis: 1 });
  const places = [top(row)[1], top(given)[1]].map((value) => build.node("Cast", [value], { to: "float32" }));
  const graph = build.graph([build.node("Add", places)]);
  const staged = await runStages(cutIntoStages(graph, 1), inputs, graph.outputs, run);
  const whole = await run(graph, inputs);
  expect(toNumbers(staged.get(graph.outputs[0])!)).toEqual(toNumbers(whole.get(graph.outputs[0])!));
});

test("what follows a product of a matrix larger than a stage stays with it", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [rows, width] });
  const matrix = build.constant(tensorOf("float32", [width, width], new Float64Array(width ** 2)));
  const graph = build.graph([build.node("Tanh", [build.node("MatMul", [x, matrix])])]);
  expect(cutIntoStages(graph, matrixBytes / 2)).toHaveLength(1);
});
