import { describe, expect, test } from "vitest";
import { runGraph } from "../../test/support/run-graph.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { logitsOf } from "../passes/class-scores.ts";
import { addMeanSquaredError, targetInput } from "./loss.ts";
import { buildPlannedStep, learningRateInput } from "./planned-step.ts";

const start = () => {
  const build = buildOn();
  return { build, x: build.input("x", { dtype: "float32", shape: ["N", 4] }) };
};

describe("the loss is taken", () => {
  test("of the first output", () => {
    const { build, x } = start();
    expect(logitsOf(build.graph([build.node("Relu", [x], {}, "scores")]))).toBe("scores");
  });
  test("of what a final Softmax reads", () => {
    const { build, x } = start();
    expect(logitsOf(build.graph([build.node("Softmax", [x])]))).toBe("x");
  });
  test("of what a final Softmax reads that is written as exponentials over their sum", () => {
    const { build, x } = start();
    const largest = build.node("ReduceMax", [x, build.ints([1])]);
    const shifted = build.node("Sub", [x, largest], {}, "shifted");
    const exponentials = build.node("Exp", [shifted]);
    const sum = build.node("ReduceSum", [exponentials, build.ints([1])], { keepdims: 0 });
    const column = build.node("Unsqueeze", [sum, build.ints([1])]);
    expect(logitsOf(build.graph([build.node("Div", [exponentials, column])]))).toBe("shifted");
  });
  test("of a quotient of other exponentials itself", () => {
    const { build, x } = start();
    const sum = build.node("ReduceSum", [x, build.ints([1])]);
    expect(logitsOf(build.graph([build.node("Div", [build.node("Exp", [x]), sum], {}, "scores")]))).toBe("scores");
  });
  test("not of images", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 3, 8, 8] });
    expect(() => logitsOf(build.graph([build.node("Relu", [x], {}, "image")]))).toThrow(
      "The model's first output \"image\" has shape [N, 3, 8, 8]; a classifier's is [batch, classes].",
    );
  });
});

/** x [N, 2] → a = x·factor, b = Relu(a), a count of rows that no loss can follow. */
function heads(factor: number): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float64", shape: [2, 2] });
  const a = build.node("Mul", [x, build.scalar(factor, x)], {}, "a");
  return build.graph([build.node("Shape", [a], {}, "sizes"), a, build.node("Relu", [a], {}, "b")]);
}

const engine = createReferenceEngine();
const x = tensorOf("float64", [2, 2], [1, -2, 3, 4]);
const numbersIn = (outputs: ReadonlyMap<string, Tensor>, name: string): number[] =>
  toNumbers(outputs.get(name) ?? scalar("float64", Number.NaN));

describe("mse", () => {
  test("is the sum over outputs of the mean squared difference to the teacher's", async () => {
    const build = buildOn(heads(2));
    const loss = addMeanSquaredError(build, ["a", "b"], heads(3));
    const outputs = await runGraph(engine, build.graph([loss]), new Map([["x", x]]));
    // a: 2x − 3x = −x; b: the same where x > 0
    expect(numbersIn(outputs, loss)[0]).toBeCloseTo((1 + 4 + 9 + 16) / 4 + (1 + 9 + 16) / 4, 12);
  });

  test("without a teacher is the mean squared difference of the first output to the targets", async () => {
    const build = buildOn(heads(2));
    const loss = addMeanSquaredError(build, ["a", "b"], undefined);
    const target = tensorOf("float64", [2, 2], [2, 0, 6, 9]);
    const outputs = await runGraph(
      engine,
      build.graph([loss]),
      new Map([
        ["x", x],
        [targetInput, target],
      ]),
    );
    expect(numbersIn(outputs, loss)[0]).toBeCloseTo((0 + 16 + 0 + 1) / 4, 12);
  });

  test("a step moves a product's weight by its closed gradient, 2/n·xᵀ(xw − t)", async () => {
    const build = buildOn();
    const w = build.constant(tensorOf("float64", [2, 1], [0.5, -1]), "w");
    const input = build.input("x", { dtype: "float64", shape: ["N", 2] });
    const graph = build.graph([build.node("MatMul", [input, w], {}, "y")]);
    const sgd = { kind: "sgd", momentum: 0, weightDecay: 0 } as const;
    const step = buildPlannedStep(graph, { batchSize: 2, loss: "mse", optimizer: sgd, plan: new Map() });
    const variables = await engine.variables(step.initial);
    const executable = await engine.compile(step.graph);
    await executable.bind(variables).run(
      new Map([
        ["x", x],
        [targetInput, tensorOf("float64", [2, 1], [1, 2])],
        [learningRateInput, scalar("float64", 0.1)],
      ]),
    );
    // xw − t = [1.5, −4.5]; 2/2·xᵀ·that = [1.5 − 13.5, −3 − 18]
    const [first, second] = toNumbers(await variables.read("w"));
    expect(first).toBeCloseTo(0.5 + 0.1 * 12, 12);
    expect(second).toBeCloseTo(-1 + 0.1 * 21, 12);
  });
});
