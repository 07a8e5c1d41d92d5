import { expect, test } from "vitest";
import { expectGradients } from "../../test/support/graph-gradients.ts";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { gradient } from "../autodiff/gradient.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { scalar, type Tensor, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { makeVariables } from "../training/make-variables.ts";
import { buildStep } from "../training/step.ts";
import { channelLoss } from "./loss.ts";
import { biasParameters, biasRateInput } from "./update-rules.ts";

const engine = createReferenceEngine();
const random = createRandom(9);
const [samples, inputs, channels] = [4, 5, 3];
const given = new Map([
  ["x", random.tensor("float64", [samples, inputs])],
  ["bias", random.tensor("float64", [channels])],
  ["target", random.tensor("float64", [samples, channels])],
]);
const weight = random.tensor("float64", [inputs, channels]);

/** x W + bias */
function unitOf(bias?: Tensor): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float64", shape: [samples, inputs] });
  const b = bias ? build.constant(bias, "bias") : build.input("bias", { dtype: "float64", shape: [channels] });
  return build.graph([build.node("Gemm", [x, build.constant(weight, "w"), b], {}, "y")]);
}

const rowsOf = (values: readonly number[]): number[][] =>
  Array.from({ length: samples }, (_, n) => values.slice(n * channels, (n + 1) * channels));
const numbersOfGiven = (name: string): number[] => toNumbers(given.get(name) as Tensor);
const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, each, i) => sum + each * b[i], 0);

function outputRows(): number[][] {
  const [x, w, bias] = [numbersOfGiven("x"), toNumbers(weight), numbersOfGiven("bias")];
  return Array.from({ length: samples }, (_, n) =>
    bias.map(
      (b, c) =>
        b +
        Array.from({ length: inputs }, (_, i) => x[n * inputs + i] * w[i * channels + c]).reduce((s, v) => s + v, 0),
    ),
  );
}

test("cosine is twice ‖t‖² (1 − cos) of each sample, and agrees with finite differences", async () => {
  const unit = unitOf();
  const build = buildOn(unit);
  const target = build.input("target", { dtype: "float64", shape: [samples, channels] });
  const loss = channelLoss(unit, { kind: "cosine" })(build, unit, new Map([["y", target]]));
  const { graph, gradients } = gradient(
    build.graph([loss]),
    loss,
    new Map([
      ["x", "all"],
      ["bias", "all"],
    ]),
  );
  const found = (await runGraph(engine, { ...graph, outputs: [loss] }, given)).get(loss) as Tensor;
  const terms = rowsOf(numbersOfGiven("target")).map((t, n) => {
    const y = outputRows()[n];
    return 2 * dot(t, t) * (1 - dot(t, y) / Math.sqrt(dot(t, t) * dot(y, y)));
  });
  expect(toNumbers(found)[0]).toBeCloseTo(terms.reduce((sum, term) => sum + term, 0) / samples, 8);
  await expectGradients({ graph, loss, gradients, inputs: given });
});

test("a relative error is the mean of each position's own, and agrees with finite differences", async () => {
  const unit = unitOf();
  const build = buildOn(unit);
  const target = build.input("target", { dtype: "float64", shape: [samples, channels] });
  const settings = { kind: "mse", isMean: true, isRelative: true } as const;
  const loss = channelLoss(unit, settings)(build, unit, new Map([["y", target]]));
  const wanted = new Map([["x", "all"] as const, ["bias", "all"] as const]);
  const { graph, gradients } = gradient(build.graph([loss]), loss, wanted);
  const found = (await runGraph(engine, { ...graph, outputs: [loss] }, given)).get(loss) as Tensor;
  const terms = rowsOf(numbersOfGiven("target")).map((t, n) => {
    const away = t.map((each, c) => outputRows()[n][c] - each);
    return dot(away, away) / dot(t, t);
  });
  expect(toNumbers(found)[0]).toBeCloseTo(terms.reduce((sum, term) => sum + term, 0) / samples, 9);
  await expectGradients({ graph, loss, gradients, inputs: given });
});

test("cosine does not see how long an output is", async () => {
  const unit = unitOf();
  const build = buildOn(unit);
  const inputsOnly = new Map([...given].filter(([name]) => name !== "target"));
  const twice = build.node("Mul", ["y", build.scalar(2, "y")]);
  const loss = channelLoss(unit, { kind: "cosine" })(build, unit, new Map([["y", twice]]));
  const found = (await runGraph(engine, build.graph([loss]), inputsOnly)).get(loss) as Tensor;
  expect(Math.abs(toNumbers(found)[0])).toBeLessThan(1e-9);
});

test("biases step down their gradient, 2 Σ (y − t) / samples, by Adam", async () => {
  const unit = unitOf(given.get("bias") as Tensor);
  const parameters = biasParameters(unit);
  expect(parameters.map(({ name }) => name)).toEqual(["bias"]);
  const { graph, initial } = makeVariables(unit, ["bias"]);
  const step = buildStep({
    forward: graph,
    start: initial,
    loss: (build, forward) =>
      channelLoss(unit, { kind: "mse" })(build, forward, new Map([["y", build.input("target", build.type("y"))]])),
    parameters,
    microBatches: 1,
  });
  const variables = await engine.variables(step.initial);
  const program = (await engine.compile(step.graph)).bind(variables);
  const rate = 0.01;
  await program.run(
    new Map([...given].filter(([name]) => name !== "bias").concat([[biasRateInput, scalar("float64", rate)]])),
  );
  const slopes = numbersOfGiven("bias").map((_, c) =>
    outputRows().reduce((sum, y, n) => sum + (2 / samples) * (y[c] - rowsOf(numbersOfGiven("target"))[n][c]), 0),
  );
  const moved = toNumbers(await variables.read("bias"));
  // Adam's first step is the rate, whatever the gradient's size.
  moved.forEach((bias, c) => {
    const expected = numbersOfGiven("bias")[c] - (rate * slopes[c]) / (Math.abs(slopes[c]) + 1e-8);
    expect(bias).toBeCloseTo(expected, 7);
  });
});
