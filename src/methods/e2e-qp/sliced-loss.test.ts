import { expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import { gradient } from "../../autodiff/gradient.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import type { Builder } from "../../ir/builder.ts";
import { assert } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { tensor, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { addLoss, labelsInput } from "../../training/loss.ts";
import { addSlicedCrossEntropy } from "./sliced-loss.ts";

const [batch, length, hidden, vocabulary] = [2, 5, 3, 7];
const classes = { axis: 2, classes: vocabulary } as const;
/** Two positions of both samples. */
const sliceBytes = 2 * batch * vocabulary * 4;

/** Scores behind a soft cap, as Gemma's are. */
function decoder(): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float64", shape: [batch, length, hidden] });
  const values = Array.from({ length: vocabulary * hidden }, (_, i) => Math.sin(3 * i));
  const head = build.constant(tensorOf("float64", [vocabulary, hidden], values), "head");
  const scores = build.node("Einsum", [build.node("Mul", [x, x]), head], { equation: "blh,vh->blv" });
  const two = build.scalar(2, x);
  const capped = build.node("Mul", [build.node("Tanh", [build.node("Div", [scores, two])]), two]);
  return build.graph([build.node("Identity", [capped], {}, "logits")]);
}

/** One label in three does not count, and none of the last position. */
const labels = Array.from({ length: batch * length }, (_, i) =>
  i % 3 === 1 || i % length === length - 1 ? vocabulary : i % vocabulary,
);

async function lossAndGradient(addTo: (build: Builder, graph: Graph) => string): Promise<readonly number[]> {
  const graph = decoder();
  const build = buildOn(graph);
  const loss = addTo(build, graph);
  const { graph: step, gradients } = gradient(build.graph([loss]), loss, new Map([["x", "all"]]));
  const engine = createReferenceEngine();
  const outputs = [loss, ...gradients.values()];
  const program = (await engine.compile({ ...step, outputs })).bind(await engine.variables(new Map()));
  const x = tensorOf(
    "float64",
    [batch, length, hidden],
    Array.from({ length: batch * length * hidden }, (_, i) => Math.cos(i)),
  );
  const of = tensor("int64", [batch, length], BigInt64Array.from(labels, BigInt));
  const found = await program.run(
    new Map([
      ["x", x],
      [labelsInput, of],
    ]),
  );
  return outputs.flatMap((output) => toNumbers(found.get(output)!));
}

test("some positions at a time give the loss and the gradient of all at once", async () => {
  const sliced = await lossAndGradient((build, graph) => {
    const made = addSlicedCrossEntropy(build, graph, classes, sliceBytes);
    assert(made, "nothing was sliced");
    expect(made.slices.map(({ size }) => size > 0)).toEqual([true, true, true]);
    return made.loss;
  });
  const whole = await lossAndGradient((build, graph) => addLoss(build, graph, { loss: "cross-entropy", classes }));
  expectClose(sliced, whole);
});

test("scores that follow from several positions, or are few, are not sliced", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float64", shape: [batch, length, vocabulary] });
  const mean = build.node("ReduceMean", [x, build.ints([1])], { keepdims: 1 });
  const mixed = build.graph([build.node("Add", [x, mean])]);
  expect(addSlicedCrossEntropy(buildOn(mixed), mixed, classes, sliceBytes)).toBeUndefined();
  const few = decoder();
  expect(addSlicedCrossEntropy(buildOn(few), few, classes)).toBeUndefined();
});
