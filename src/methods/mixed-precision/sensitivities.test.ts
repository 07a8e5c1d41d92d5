import { beforeAll, describe, expect, test } from "vitest";
import { runGraph } from "../../../test/support/gradient-check.ts";
import { inMemoryCommunicators } from "../../../test/support/in-memory-ranks.ts";
import { tinyBatch, tinyClassifier } from "../../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import { assert } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { numbersOf, type Tensor, toNumbers } from "../../ir/tensor.ts";
import { kernels } from "../../kernels/index.ts";
import { quantizeOptions } from "../../quantizers/quantize-options.ts";
import { type Choice, choicesOf } from "./choices.ts";
import type { Measured } from "./measured.ts";
import { type SensitivityName, sensitivities } from "./sensitivities.ts";

const context = { engine: createReferenceEngine(), seed: 3 };
const float = tinyClassifier();
const widths = [2, 4, 8];
const { free } = choicesOf(float, quantizeOptions.parse({ placement: "inputs" }), widths);
const samples = 8;
const batches = [1, 2].map((seed) => new Map([["input", tinyBatch("float64", samples, seed).images]]));

const measuredOf = (choices: readonly Choice[]): Measured => ({
  graph: float,
  weights: choices.map(({ weight }) => weight),
  choices,
  batches,
  singles: async () => batches.flatMap((batch) => singlesOf(batch.get("input"))),
});

function singlesOf(images: Tensor | undefined): ReadonlyMap<string, Tensor>[] {
  assert(images, "no images");
  const each = images.data.length / samples;
  return Array.from({ length: samples }, (_, i) => {
    const data = numbersOf(images).slice(i * each, (i + 1) * each);
    return new Map([["input", { dtype: images.dtype, shape: [1, ...images.shape.slice(1)], data } as Tensor]]);
  });
}

const valueIn = (graph: Graph, inputs: ReadonlyMap<string, Tensor>, name: string): Tensor => {
  const value = runGraph(graph, inputs, kernels).get(name);
  assert(value, `no "${name}"`);
  return value;
};

function softmax(scores: readonly number[]): number[] {
  const powers = scores.map(Math.exp);
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

const rowsOf = (t: Tensor): number[][] => {
  const values = toNumbers(t);
  return Array.from({ length: t.shape[0] }, (_, i) => values.slice(i * t.shape[1], (i + 1) * t.shape[1]));
};

/** The last layer, z = W x + b: all that is measured of it has a closed form. */
const last = free.filter(({ layers }) => layers.includes("linear"));
const [{ weight: name, rounded }] = last;
const own = numbersOf(float.constants.get(name)!);
const node = float.nodes.find(({ inputs }) => inputs[1] === name)!;
const features = batches.map((inputs) => rowsOf(valueIn(float, inputs, node.inputs[0])));
const probabilities = batches.map((inputs) => rowsOf(valueIn(float, inputs, "logits")).map(softmax));
const [classes, size] = float.constants.get(name)!.shape;

/** With another W: the probabilities of each sample. */
function movedProbabilities(batch: number, weights: ArrayLike<number>): number[][] {
  return rowsOf(valueIn(float, batches[batch], "logits")).map((scores, n) =>
    softmax(
      scores.map((score, c) =>
        features[batch][n].reduce((sum, x, k) => sum + x * (weights[c * size + k] - own[c * size + k]), score),
      ),
    ),
  );
}

/** Of the mean cross-entropy to the probabilities as they are. */
function gradientAt(batch: number, weights: ArrayLike<number>): number[] {
  const moved = movedProbabilities(batch, weights);
  return Array.from({ length: classes * size }, (_, at) => {
    const [c, k] = [Math.floor(at / size), at % size];
    return moved.reduce(
      (sum, p, n) => sum + ((p[c] - probabilities[batch][n][c]) * features[batch][n][k]) / samples,
      0,
    );
  });
}

const measure = async (which: SensitivityName, choices = last): Promise<ReadonlyMap<number, number>[]> => [
  ...(await sensitivities[which](measuredOf(choices), context)),
];

describe("what quantizing a layer loses", () => {
  let found: Readonly<Record<SensitivityName, ReadonlyMap<number, number>>>;
  beforeAll(async () => {
    const names = Object.keys(sensitivities) as SensitivityName[];
    const entries = await Promise.all(names.map(async (which) => [which, (await measure(which))[0]] as const));
    found = Object.fromEntries(entries) as typeof found;
  });

  test.each(widths)("divergence: KL of the class probabilities, at %i bits", (width) => {
    const values = numbersOf(rounded.get(width)!);
    const losses = batches.flatMap((_, batch) =>
      movedProbabilities(batch, values).map((q, n) =>
        probabilities[batch][n].reduce((sum, p, c) => sum + p * Math.log(p / q[c]), 0),
      ),
    );
    expect(found.divergence.get(width)).toBeCloseTo(losses.reduce((a, b) => a + b) / losses.length, 10);
  });

  test.each(widths)("taylor: the gradient where it is quantized, times the move, at %i bits", (width) => {
    const values = numbersOf(rounded.get(width)!);
    const [first, second] = [gradientAt(0, values), gradientAt(1, values)];
    const wanted = first.reduce((sum, g, i) => sum + Math.abs(((g + second[i]) / 2) * (values[i] - own[i])), 0);
    expect(found.taylor.get(width)).toBeCloseTo(wanted, 10);
  });

  test.each(widths)("integrated: the gradients on the way from 0 to the weight, at %i bits", (width) => {
    const sums = new Float64Array(own.length);
    for (const point of [0.125, 0.375, 0.625, 0.875])
      gradientAt(
        0,
        Float64Array.from(own, (w) => w * point),
      ).forEach((g, i) => {
        sums[i] += g / 4;
      });
    const importance = sums.reduce((sum, g, i) => sum + Math.abs(own[i] * g), 0);
    const values = numbersOf(rounded.get(width)!);
    const [moved, energy] = [0, 1].map((power) =>
      Array.from(own).reduce((sum, w, i) => sum + (power === 0 ? (values[i] - w) ** 2 : w ** 2), 0),
    );
    expect(found.integrated.get(width)).toBeCloseTo((importance * moved) / energy, 10);
  });

  test.each(widths)("output: noise to signal of the layer's own output, at %i bits", (width) => {
    const values = numbersOf(rounded.get(width)!);
    let [noise, signal] = [0, 0];
    for (const rows of features)
      for (const x of rows)
        for (let c = 0; c < classes; c++) {
          const product = (weights: ArrayLike<number>): number =>
            x.reduce((sum, value, k) => sum + value * weights[c * size + k], 0);
          noise += (product(values) - product(own)) ** 2;
          signal += product(own) ** 2;
        }
    expect(found.output.get(width)).toBeCloseTo(noise / signal, 10);
  });

  test("fisher and hessian: the curvature at the weight, which is the expected one of p (1 − p) x²", () => {
    const values = numbersOf(rounded.get(4)!);
    let [exact, trace, moved] = [0, 0, 0];
    for (let i = 0; i < own.length; i++) {
      const [c, k] = [Math.floor(i / size), i % size];
      const terms = features.flatMap((rows, batch) =>
        rows.map((x, n) => probabilities[batch][n][c] * (1 - probabilities[batch][n][c]) * x[k] ** 2),
      );
      const curvature = terms.reduce((a, b) => a + b) / terms.length;
      exact += (curvature * (values[i] - own[i]) ** 2) / 2;
      trace += curvature / own.length;
      moved += (values[i] - own[i]) ** 2;
    }
    // 16 classes drawn, 8 probes: both are estimates.
    expect((found.fisher.get(4) ?? 0) / exact).toBeGreaterThan(0.5);
    expect((found.fisher.get(4) ?? 0) / exact).toBeLessThan(2);
    expect((found.hessian.get(4) ?? 0) / (trace * moved)).toBeGreaterThan(0.5);
    expect((found.hessian.get(4) ?? 0) / (trace * moved)).toBeLessThan(2);
  });

  test.each(Object.keys(sensitivities) as SensitivityName[])(
    "%s: processes that take turns have the losses of one, to the last bit",
    async (which) => {
      const one = await measure(which, [...free]);
      for (const ranks of await Promise.all([2, 4].map(inMemoryCommunicators))) {
        const all = await Promise.all(
          ranks.map((communicator) => sensitivities[which](measuredOf(free), { ...context, communicator })),
        );
        for (const losses of all) expect(losses).toEqual(one);
      }
    },
  );

  test.each(Object.keys(sensitivities) as SensitivityName[])(
    "%s: every layer loses more at fewer bits",
    async (which) => {
      const all = await measure(which, [...free]);
      expect(all).toHaveLength(3);
      for (const losses of all) {
        expect([...losses.keys()]).toEqual(widths);
        const [two, four, eight] = [...losses.values()];
        expect(two).toBeGreaterThan(four);
        expect(four).toBeGreaterThan(eight);
        expect(eight).toBeGreaterThan(0);
      }
    },
  );
});
