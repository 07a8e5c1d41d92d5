// Gradients of whole models in float64 against central differences of the reference engine's forward.
import { describe, expect, test } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { assert } from "../../src/ir/errors.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { removeDeadNodes } from "../../src/passes/remove-dead-nodes.ts";
import { setBatchSize } from "../../src/passes/set-batch-size.ts";
import { addCrossEntropy, labelsInput, logitsOf } from "../../src/training/loss.ts";
import { parametersOf } from "../../src/training/parameters.ts";
import { buildStep, type StepOptions } from "../../src/training/step.ts";
import { expectClose } from "../support/close.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import { tinyBatch, tinyClassifier } from "../support/tiny-classifier.ts";
import { batchFor, tinyModels } from "./tiny-models.ts";

const engine = createReferenceEngine();
const batchSize = 3;
/** Small enough that no rectifier of these models turns over. */
const step = 1e-6;

/** The graph with these constants or variables as inputs, so that they can be moved. */
function withInputs(graph: Graph, names: readonly string[]): Graph {
  const constants = new Map(graph.constants);
  for (const name of names) constants.delete(name);
  return { ...graph, constants, variables: [], inputs: [...graph.inputs, ...names], updates: new Map() };
}

const dot = (a: Tensor, b: Tensor): number => {
  const other = numbersOf(b);
  return Array.from(numbersOf(a)).reduce((sum, element, i) => sum + element * other[i], 0);
};

interface Checked {
  /** Gives the loss and the gradients. */
  readonly graph: Graph;
  readonly loss: string;
  readonly gradients: ReadonlyMap<string, string>;
  /** Everything that the graph reads, the differentiated values among it. */
  readonly inputs: ReadonlyMap<string, Tensor>;
}

/** One random direction per differentiated value. */
async function expectGradients({ graph, loss, gradients, inputs }: Checked): Promise<void> {
  const whole = await runGraph(engine, removeDeadNodes({ ...graph, outputs: [loss, ...gradients.values()] }), inputs);
  const forward = removeDeadNodes({ ...graph, outputs: [loss] });
  const program = (await engine.compile(forward)).bind(await engine.variables(new Map()));
  const random = createRandom(5);
  for (const [name, gradientName] of gradients) {
    const [value, slope] = [inputs.get(name), whole.get(gradientName)];
    assert(value && slope, `"${name}" has no gradient`);
    const direction = random.tensor("float64", value.shape);
    const along = numbersOf(direction);
    const lossAt = async (amount: number): Promise<number> => {
      const moved = Array.from(numbersOf(value), (element, i) => element + amount * along[i]);
      const outputs = await program.run(new Map(inputs).set(name, tensorOf("float64", value.shape, moved)));
      return numbersOf(outputs.get(loss) ?? value)[0];
    };
    const expected = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
    expect(slope.shape, name).toEqual(value.shape);
    expectClose([dot(slope, direction)], [expected], { as: "finiteDifferences", what: `derivative by "${name}"` });
  }
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
    const loss = addCrossEntropy(build, logitsOf(float));
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
  test.each<[string, Pick<StepOptions, "loss" | "teacher">]>([
    ["cross-entropy", { loss: "cross-entropy" }],
    ["distillation", { loss: "distill", teacher }],
  ])("by %s, its gradients agree with finite differences", async (_, loss) => {
    const built = buildStep(model, { batchSize, optimizer, plan: new Map(), ...loss });
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
