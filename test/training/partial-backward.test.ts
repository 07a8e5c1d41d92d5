// What is frozen costs nothing and keeps its bytes; what trains, trains as in a whole step.
import { describe, expect, test } from "vitest";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { scalar, type Tensor } from "../../src/ir/tensor.ts";
import { labelsInput } from "../../src/training/loss.ts";
import type { Optimizer } from "../../src/training/optimizer.ts";
import {
  buildPlannedStep,
  learningRateInput,
  type PlanShape,
  qparamLearningRateInput,
} from "../../src/training/planned-step.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../support/tiny-classifier.ts";

const engine = createReferenceEngine();
const weights = ["conv1.weight", "conv2.weight", "linear.weight"];
const planOf = (shape: "all" | "none" | "rows"): PlanShape => new Map(weights.map((name) => [name, shape]));
const sgd: Optimizer = { kind: "sgd", momentum: 0.9, weightDecay: 1e-4 };
const batch = tinyBatch("float64", 8);

async function runSteps(
  model: Graph,
  plan: PlanShape,
  rows: ReadonlyMap<string, readonly number[]>,
  optimizer: Optimizer,
  steps = 1,
): Promise<ReadonlyMap<string, Tensor>> {
  const step = buildPlannedStep(model, { batchSize: 8, loss: "cross-entropy", optimizer, plan });
  const variables = await engine.variables(step.initial);
  const program = (await engine.compile(step.graph)).bind(variables);
  const inputs = new Map([
    ["input", batch.images],
    [labelsInput, batch.labels],
    [learningRateInput, scalar("float64", 0.1)],
    [qparamLearningRateInput, scalar("float64", 1e-3)],
  ]);
  for (const [weight, input] of step.rowInputs) {
    const list = rows.get(weight) ?? [];
    inputs.set(input, { dtype: "int64", shape: [list.length], data: BigInt64Array.from(list, BigInt) });
  }
  for (let index = 0; index < steps; index++) await program.run(inputs);
  const result = new Map<string, Tensor>();
  for (const name of variables.names()) result.set(name, await variables.read(name));
  return result;
}

const row = (tensor: Tensor | undefined, index: number): number[] => {
  const each = (tensor?.data.length ?? 0) / (tensor?.shape[0] ?? 1);
  return Array.from(tensor?.data.slice(index * each, (index + 1) * each) as Float64Array);
};

const weightGradients = (graph: Graph): readonly string[] =>
  graph.nodes
    .filter(({ op, name }) => op === "ConvGradientWeight" || weights.some((weight) => name === `${weight}/update`))
    .map(({ name }) => name);

describe.each([
  ["sgd", sgd],
  ["adam", { kind: "adam", weightDecay: 1e-4 } as Optimizer],
] as const)("partial backward with %s", (_, optimizer) => {
  const model = quantizeTiny(tinyClassifier(), { weights: 4, activations: 8 });

  test("selected rows take the very step that a whole step takes; frozen rows and their scales keep their bytes", async () => {
    const rows = new Map([
      ["conv1.weight", [1, 4]],
      ["conv2.weight", []],
      ["linear.weight", [0]],
    ]);
    const whole = await runSteps(model, planOf("all"), new Map(), optimizer);
    const partial = await runSteps(model, planOf("rows"), rows, optimizer);
    for (const weight of weights) {
      const scale = `${weight}_scale`;
      for (let index = 0; index < (model.constants.get(weight)?.shape[0] ?? 0); index++) {
        const isTrained = rows.get(weight)?.includes(index) === true;
        for (const name of [weight, scale]) {
          const expected = row(isTrained ? whole.get(name) : model.constants.get(name), index);
          expect(row(partial.get(name), index), `${name} row ${index}`).toEqual(expected);
        }
      }
    }
    expect(partial.get("bn1.bias")?.data).toEqual(whole.get("bn1.bias")?.data);
    expect(partial.get("conv1.input_scale")?.data).toEqual(whole.get("conv1.input_scale")?.data);
  });

  test("the state of frozen rows is kept, not stepped", async () => {
    const rows = new Map([["conv1.weight", [2]]]);
    const after = await runSteps(model, planOf("rows"), rows, optimizer, 3);
    const state = optimizer.kind === "sgd" ? "conv1.weight/velocity" : "conv1.weight/second_moment";
    expect(row(after.get(state), 2).some((value) => value !== 0)).toBe(true);
    expect(row(after.get(state), 3).every((value) => value === 0)).toBe(true);
  });
});

describe("step graphs", () => {
  const model = quantizeTiny(tinyClassifier(), { weights: 4, activations: 8 });
  const graphOf = (plan: PlanShape): Graph =>
    buildPlannedStep(model, { batchSize: 8, loss: "cross-entropy", optimizer: sgd, plan }).graph;

  test("a step in which no weight trains holds no weight gradient and no weight update", () => {
    expect(weightGradients(graphOf(planOf("none")))).toEqual([]);
    expect(weightGradients(graphOf(planOf("all"))).length).toBe(5);
  });

  test("a frozen layer has no weight gradient, the others theirs", () => {
    const plan: PlanShape = new Map([
      ["conv1.weight", "none"],
      ["conv2.weight", "all"],
      ["linear.weight", "none"],
    ]);
    expect(weightGradients(graphOf(plan))).toEqual(["ConvGradientWeight", "conv2.weight/update"]);
  });

  test("a frozen layer keeps nothing for its weight: its quantized input has no reader in the backward pass", () => {
    const readers = (graph: Graph): number =>
      graph.nodes.filter(({ inputs }) => inputs.includes("conv2.input_quantized")).length;
    expect(readers(graphOf(planOf("none")))).toBe(1);
    expect(readers(graphOf(planOf("all")))).toBe(2);
  });

  test("another choice of rows is the same graph", () => {
    expect(JSON.stringify(graphOf(planOf("rows")).nodes)).toBe(JSON.stringify(graphOf(planOf("rows")).nodes));
    expect(graphOf(planOf("rows")).inputs.filter((name) => name.startsWith("frostbit/rows:"))).toHaveLength(3);
  });
});
