// Gradients of whole models in float64 against central differences of the reference engine's forward.
import { describe, expect, test } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { setBatchSize } from "../../src/passes/set-batch-size.ts";
import { addLoss, labelsInput } from "../../src/training/loss.ts";
import { parametersOf } from "../../src/training/parameters.ts";
import { buildPlannedStep, type PlannedStepOptions } from "../../src/training/planned-step.ts";
import { expectGradients } from "../support/graph-gradients.ts";
import { tinyBatch, tinyClassifier } from "../support/tiny-classifier.ts";
import { batchFor, tinyModels } from "./tiny-models.ts";

const batchSize = 3;

/** The graph with these constants or variables as inputs, so that they can be moved. */
function withInputs(graph: Graph, names: readonly string[]): Graph {
  const constants = new Map(graph.constants);
  for (const name of names) constants.delete(name);
  return { ...graph, constants, variables: [], inputs: [...graph.inputs, ...names], updates: new Map() };
}

const isStatistic = (name: string): boolean => name.includes(".running_");

describe.each(tinyModels)("$name", (model) => {
  test("the gradients of all parameters and of the input agree with finite differences", async () => {
    const { images, labels } = batchFor(model, "float64", batchSize);
    const float = setBatchSize(model.build("float64"), batchSize);
    const parameters = new Map(
      [...float.constants].filter(
        ([name, { dtype, shape }]) => dtype === "float64" && shape.length > 0 && !isStatistic(name),
      ),
    );
    const names = [...parameters.keys(), "input"];
    const build = buildOn(withInputs(float, [...parameters.keys()]));
    const loss = addLoss(build, float, { loss: "cross-entropy" });
    const { graph, gradients } = gradient(build.graph([loss]), loss, new Map(names.map((name) => [name, "all"])));
    expect([...gradients.keys()]).toEqual(names);
    expect(names).toEqual(expect.arrayContaining(parametersOf(float).map(({ name }) => name)));
    await expectGradients({
      graph,
      loss,
      gradients,
      inputs: new Map([...parameters, ["input", images], [labelsInput, labels]]),
    });
  });
});

/** The gradient that each update node reads, by parameter. */
const gradientsOf = (graph: Graph): Map<string, string> =>
  new Map(graph.nodes.filter(({ op }) => op === "SgdUpdate").map(({ inputs }) => [inputs[0], inputs[1]]));

describe("the training step of the residual classifier, normalization by the batch's statistics", () => {
  const model = tinyClassifier();
  const { images, labels } = tinyBatch("float64", batchSize);
  const optimizer = { kind: "sgd", momentum: 0.9, weightDecay: 1e-4 } as const;
  const teacher = tinyClassifier("float64", 9);
  test.each<[string, Pick<PlannedStepOptions, "loss" | "teacher">]>([
    ["cross-entropy", { loss: "cross-entropy" }],
    ["distillation", { loss: "distill", teacher }],
  ])("by %s, its gradients agree with finite differences", async (_, loss) => {
    const built = buildPlannedStep(model, { batchSize, optimizer, plan: new Map(), ...loss });
    const gradients = gradientsOf(built.graph);
    expect([...gradients.keys()].sort()).toEqual(
      parametersOf(model)
        .map(({ name }) => name)
        .sort(),
    );
    const graph = withInputs(built.graph, [...gradients.keys()]);
    const inputs = new Map([...built.initial].filter(([name]) => gradients.has(name)));
    inputs.set("input", images);
    if (graph.inputs.includes(labelsInput)) inputs.set(labelsInput, labels);
    const kept = { ...graph, inputs: graph.inputs.filter((name) => inputs.has(name)) };
    await expectGradients({ graph: kept, loss: built.loss, gradients, inputs });
  });
});
