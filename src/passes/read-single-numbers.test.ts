import { expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { buildOn } from "../ops/infer.ts";
import { readSingleNumbers } from "./read-single-numbers.ts";

test("single numbers are not expanded before they are multiplied, on either side; rows of numbers and what is only that are", async () => {
  const random = createRandom(1);
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [3, 4] });
  const one = build.input("one", { dtype: "float32", shape: [1, 1] });
  const row = build.input("row", { dtype: "float32", shape: [1, 4] });
  const expanded = (value: string): string => build.node("Expand", [value, build.ints([3, 4])]);
  const outputs = [
    build.node("Mul", [expanded(one), x]),
    build.node("Sub", [x, expanded(one)]),
    build.node("Add", [x, expanded(row)]),
    build.node("Div", [expanded(one), expanded(one)]),
  ];
  const graph = build.graph(outputs);
  const changed = readSingleNumbers(graph);
  const inputsOf = (output: string) => changed.nodes.find((node) => node.outputs[0] === output)?.inputs;
  expect(outputs.slice(0, 2).map(inputsOf)).toEqual([
    [one, x],
    [x, one],
  ]);
  expect(changed.nodes.filter((node, i) => node !== graph.nodes[i])).toHaveLength(2);
  const inputs = new Map(
    [x, one, row].map((name) => [name, random.tensor("float32", graph.values.get(name)?.shape.map(Number) ?? [])]),
  );
  const engine = createReferenceEngine();
  expect(await runGraph(engine, changed, inputs)).toEqual(await runGraph(engine, graph, inputs));
});
