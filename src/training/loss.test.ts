import { describe, expect, test } from "vitest";
import { runGraph } from "../../test/support/run-graph.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { type ClassPlace, likelyScores } from "../passes/class-scores.ts";
import { addLoss, addMeanSquaredError, labelsInput, targetInput } from "./loss.ts";
import { buildPlannedStep, learningRateInput } from "./planned-step.ts";

const logitsOf = (graph: Graph): string | undefined => likelyScores(graph)?.logits;

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
  test("of what a final Sigmoid reads, also behind a Reshape and written as 1 / (1 + exp(−x))", () => {
    const { build, x } = start();
    const z = build.node("ReduceSum", [x, build.ints([1])], { keepdims: 1 }, "z");
    const one = build.scalar(1, z);
    const sigmoid = build.node("Sigmoid", [z]);
    const written = build.node("Div", [one, build.node("Add", [one, build.node("Exp", [build.node("Neg", [z])])])]);
    for (const output of [sigmoid, build.node("Reshape", [sigmoid, build.ints([-1])]), written])
      expect(likelyScores(build.graph([output]))).toMatchObject({
        logits: "z",
        givesProbabilities: true,
        axis: "none",
      });
  });
  test("not of images whose channels are unknown", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", "C", 8, 8] });
    const graph = build.graph([build.node("Relu", [x], {}, "image")]);
    expect(() => addLoss(buildOn(graph), graph, { loss: "cross-entropy" })).toThrow(
      'The model\'s first output "image" has shape [N, C, 8, 8], which shows no class scores',
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

/** The loss of scores that are the graph's input. */
async function crossEntropy(scores: Tensor, labels: Tensor, classes: ClassPlace, op = "Identity"): Promise<number> {
  const build = buildOn();
  const z = build.input("z", { dtype: "float64", shape: scores.shape });
  const graph = build.graph([build.node(op, [z])]);
  const stepped = buildOn(graph);
  const loss = addLoss(stepped, graph, { loss: "cross-entropy", classes });
  const given = new Map([
    ["z", scores],
    [labelsInput, labels],
  ]);
  const [value] = numbersIn(await runGraph(engine, stepped.graph([loss]), given), loss);
  return value;
}

const single = { axis: "none", classes: 2 } as const;

describe("cross-entropy", () => {
  const logSoftmax = (values: readonly number[], index: number): number =>
    values[index] - Math.log(values.reduce((sum, value) => sum + Math.exp(value), 0));

  test("of a single score is −ln σ(z) or −ln σ(−z), and stays finite and exact far from 0", async () => {
    const expected = Math.log(1 + Math.exp(-0.5)) + Math.log(1 + Math.exp(-2));
    const labels = tensorOf("int64", [2], [1, 0]);
    for (const op of ["Identity", "Sigmoid"])
      expect(await crossEntropy(tensorOf("float64", [2, 1], [0.5, -2]), labels, single, op)).toBeCloseTo(
        expected / 2,
        12,
      );
    expect(await crossEntropy(tensorOf("float64", [2], [-1000, 1000]), labels, single, "Sigmoid")).toBe(1000);
  });

  test("of a single score for each position is the mean over those whose label is 0 or 1", async () => {
    const scores = tensorOf("float64", [1, 1, 1, 3], [0.5, -2, 7]);
    const expected = Math.log(1 + Math.exp(-0.5)) + Math.log(1 + Math.exp(-2));
    expect(await crossEntropy(scores, tensorOf("int64", [1, 3], [1, 0, 2]), single)).toBeCloseTo(expected / 2, 12);
  });

  test("of positions is the mean over those whose label is a class, channels first or last", async () => {
    // Sample 0: positions (1, 2, 0) and (0, −1, 1); sample 1: (3, 0, 0) and one that is ignored, label 3.
    const labels = tensorOf("int64", [2, 2], [1, 2, 0, 3]);
    const expected = -(logSoftmax([1, 2, 0], 1) + logSoftmax([0, -1, 1], 2) + logSoftmax([3, 0, 0], 0)) / 3;
    const first = tensorOf("float64", [2, 3, 2], [1, 0, 2, -1, 0, 1, 3, 5, 0, 5, 0, 5]);
    const last = tensorOf("float64", [2, 2, 3], [1, 2, 0, 0, -1, 1, 3, 0, 0, 5, 5, 5]);
    expect(await crossEntropy(first, labels, { axis: 1, classes: 3 })).toBeCloseTo(expected, 12);
    expect(await crossEntropy(last, labels, { axis: 2, classes: 3 })).toBeCloseTo(expected, 12);
  });
});

test("distillation of a single score is the cross-entropy against the float model's probability", async () => {
  const build = buildOn();
  const z = build.input("z", { dtype: "float64", shape: [2, 1] });
  const graph = build.graph([build.node("Sigmoid", [z])]);
  const taught = buildOn();
  const own = taught.input("z", { dtype: "float64", shape: [2, 1] });
  const teacher = taught.graph([taught.node("Sigmoid", [taught.node("Mul", [own, taught.scalar(2, own)])])]);
  const stepped = buildOn(graph);
  const loss = addLoss(stepped, graph, { loss: "distill", teacher, classes: single });
  const given = new Map([["z", tensorOf("float64", [2, 1], [0.5, -2])]]);
  const sigmoid = (value: number): number => 1 / (1 + Math.exp(-value));
  const expected = [0.5, -2].map((value) => {
    const wanted = sigmoid(2 * value);
    return -wanted * Math.log(sigmoid(value)) - (1 - wanted) * Math.log(1 - sigmoid(value));
  });
  const [value] = numbersIn(await runGraph(engine, stepped.graph([loss]), given), loss);
  expect(value).toBeCloseTo((expected[0] + expected[1]) / 2, 12);
});
