import { describe, expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { inspectModel } from "../inspect/inspect-model.ts";
import type { Graph } from "../ir/graph.ts";
import { sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { parametersOf } from "../training/parameters.ts";
import { linearLayers } from "./linear-layers.ts";

const random = createRandom(2);
const filled = (shape: readonly number[], value: (i: number) => number): Tensor =>
  tensorOf(
    "float32",
    shape,
    Array.from({ length: sizeOf(shape) }, (_, i) => value(i)),
  );

/** x → Conv with random weights → (Softmax) → operator with this weight → y */
function behindLayer(op: string, weight: Tensor, attributes = {}, softmax = false): Graph {
  const build = buildOn();
  const isMatrix = op === "MatMul";
  const channels = isMatrix
    ? weight.shape[0]
    : ((attributes as { group?: number }).group ?? weight.shape[op === "Conv" ? 1 : 0]);
  const x = build.input("x", { dtype: "float32", shape: isMatrix ? ["N", 3] : ["N", 3, 6, 6] });
  const learned = random.tensor("float32", isMatrix ? [3, channels] : [channels, 3, 1, 1]);
  const first = build.node(isMatrix ? "MatMul" : "Conv", [x, build.constant(learned, "first.weight")], {}, "first");
  const before = softmax ? build.node("Softmax", [first], { axis: 1 }) : first;
  return build.graph([build.node(op, [before, build.constant(weight, "head.weight")], attributes, "y")]);
}

const bins = filled([1, 16, 1, 1], (i) => i);
const binomial = filled([6, 1, 3, 3], (i) => [1, 2, 1, 2, 4, 2, 1, 2, 1][i % 9] / 16);

describe("filters that nobody learned", () => {
  test.each([
    ["bins behind a Softmax", behindLayer("Conv", bins, {}, true)],
    [
      "eight bins of a matrix",
      behindLayer(
        "MatMul",
        filled([8, 1], (i) => i),
        {},
        true,
      ),
    ],
    [
      "four bins, with a step and an offset",
      behindLayer(
        "MatMul",
        filled([4, 1], (i) => 0.1 * i - 0.3),
        {},
        true,
      ),
    ],
    ["whole numbers behind no Softmax", behindLayer("Conv", bins)],
    [
      "a ramp for each of two sides",
      behindLayer(
        "Conv",
        filled([2, 16, 1, 1], (i) => i % 16),
      ),
    ],
    ["one blur for all channels", behindLayer("Conv", binomial, { group: 6 })],
    ["one interpolation for all channels", behindLayer("ConvTranspose", binomial, { group: 6 })],
    [
      "a choice of pixels",
      behindLayer(
        "Conv",
        filled([4, 1, 2, 2], (i) => Number(i % 5 === 0)),
      ),
    ],
  ])("%s: stays float and untrained, and is named", (_, graph) => {
    expect(linearLayers(graph).map(({ name }) => name)).toEqual(["first"]);
    expect(parametersOf(graph).map(({ name }) => name)).toEqual(["first.weight"]);
    expect(inspectModel(graph).notQuantizable).toEqual([
      { node: "y", op: expect.any(String), reason: expect.stringContaining('"head.weight" is no learned one') },
    ]);
  });

  test.each([
    [
      "zeros, from which training starts",
      behindLayer(
        "Conv",
        filled([4, 8, 1, 1], () => 0),
      ),
    ],
    [
      "equal weights",
      behindLayer(
        "Conv",
        filled([4, 8, 1, 1], () => 0.1),
      ),
    ],
    [
      "zeros of a depthwise one",
      behindLayer(
        "Conv",
        filled([6, 1, 3, 3], () => 0),
        { group: 6 },
      ),
    ],
    ["different depthwise filters", behindLayer("Conv", random.tensor("float32", [6, 1, 3, 3]), { group: 6 })],
    [
      "a ramp over all weights",
      behindLayer(
        "MatMul",
        filled([16, 4], (i) => i / 64),
        {},
      ),
    ],
    [
      "steps of a tenth behind no Softmax",
      behindLayer(
        "MatMul",
        filled([16, 1], (i) => i / 10),
      ),
    ],
    [
      "almost a ramp",
      behindLayer(
        "Conv",
        filled([1, 16, 1, 1], (i) => i + (i === 7 ? 0.001 : 0)),
        {},
        true,
      ),
    ],
    [
      "two bins",
      behindLayer(
        "MatMul",
        filled([2, 1], (i) => i),
        {},
        true,
      ),
    ],
    [
      "the identity of a matrix",
      behindLayer(
        "MatMul",
        filled([4, 4], (i) => Number(i % 5 === 0)),
      ),
    ],
  ])("are not %s", (_, graph) => {
    expect(linearLayers(graph).map(({ name }) => name)).toEqual(["first", "head"]);
  });
});
