// A change detector, nothing more: the step graphs of tiny models as they were last looked at. A refactoring must not change
// them; a change that is meant to is looked at in the diff and taken over with `npx vitest run test/graphs -u`.
import { describe, expect, test } from "vitest";
import { assert } from "../../src/ir/errors.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { removeDeadNodes } from "../../src/passes/remove-dead-nodes.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import { buildPlannedStep, type PlanShape } from "../../src/training/planned-step.ts";
import { quantized } from "../models/quantized.ts";
import { tinyModels } from "../models/tiny-models.ts";
import { printGraph } from "../support/print-graph.ts";
import { quantizeTiny, tinyClassifier } from "../support/tiny-classifier.ts";

type Shape = "all" | "none" | "rows";

const planOf = (graph: Graph, shapeOf: (index: number) => Shape): PlanShape =>
  new Map(linearLayers(graph).map(({ weight }, index) => [weight, shapeOf(index)]));

const plans: Readonly<Record<string, (index: number) => Shape>> = {
  qat: () => "all",
  frozen: () => "none",
  "rows-in-every-layer": () => "rows",
  "every-second-layer": (index) => (index % 2 === 0 ? "none" : "all"),
};

const stepOf = (graph: Graph, shapeOf: (index: number) => Shape): Graph =>
  buildPlannedStep(graph, {
    batchSize: 2,
    loss: "cross-entropy",
    optimizer: { kind: "sgd", momentum: 0.9, weightDecay: 1e-4 },
    plan: planOf(graph, shapeOf),
  }).graph;

describe("the printed step graph has not changed", () => {
  test.each(Object.entries(plans))("of the residual classifier, %s", async (name, shapeOf) => {
    const graph = quantizeTiny(tinyClassifier("float32"), { weights: 4, activations: 8 });
    await expect(printGraph(stepOf(graph, shapeOf))).toMatchFileSnapshot(`residual-${name}.txt`);
  });

  test.each(["MobileNetV2", "vision transformer with Gelu"])("of the %s, rows in every layer", async (name) => {
    const model = tinyModels.find((candidate) => candidate.name === name);
    assert(model, `there is no tiny model "${name}"`);
    const graph = await quantized(model, "float32");
    const file = name.toLowerCase().replaceAll(" ", "-");
    await expect(printGraph(stepOf(graph, plans["rows-in-every-layer"]))).toMatchFileSnapshot(`${file}.txt`);
  });
});

describe.each(tinyModels)("the step of the $name", (model) => {
  test.each(Object.entries(plans))("holds no node that nobody reads: %s", async (_, shapeOf) => {
    const step = stepOf(await quantized(model, "float32", { placement: "runtime" }), shapeOf);
    const kept = new Set(removeDeadNodes(step).nodes.map(({ name }) => name));
    expect(step.nodes.filter(({ name }) => !kept.has(name)).map(({ op, name }) => `${op} ${name}`)).toEqual([]);
  });
});
