import { expect, test } from "vitest";
import { tinyClassifier } from "../../test/support/tiny-classifier.ts";
import type { Graph } from "../ir/graph.ts";
import { verifyGraph } from "../ir/verify.ts";
import { parametersOf } from "../training/parameters.ts";
import { separateStatistics } from "./separate-statistics.ts";
import { runningStatistics } from "./train-batch-norm.ts";

/** Both normalizations read one constant as factor and variance, and another as offset and mean. */
function merged(): Graph {
  const graph = tinyClassifier();
  const nodes = graph.nodes.map((node) =>
    node.op === "BatchNormalization"
      ? { ...node, inputs: [node.inputs[0], "bn1.weight", "bn1.bias", "bn1.bias", "bn1.weight"] }
      : node,
  );
  return { ...graph, nodes };
}

test("what is a parameter and a running statistic becomes two constants of the same numbers", () => {
  const graph = verifyGraph(separateStatistics(merged()));
  const means = graph.nodes.filter(({ op }) => op === "BatchNormalization").map(({ inputs }) => inputs.slice(1));
  expect(means).toEqual([
    ["bn1.weight", "bn1.bias", "bn1.bias/mean", "bn1.weight/variance"],
    ["bn1.weight", "bn1.bias", "bn1.bias/mean", "bn1.weight/variance"],
  ]);
  expect(graph.constants.get("bn1.bias/mean")).toBe(graph.constants.get("bn1.bias"));
  const trained = new Set(parametersOf(graph).map(({ name }) => name));
  expect(runningStatistics(graph).filter((name) => trained.has(name))).toEqual([]);
});

test("a graph whose statistics are their own comes back as it is", () => {
  const graph = tinyClassifier();
  expect(separateStatistics(graph)).toBe(graph);
});
