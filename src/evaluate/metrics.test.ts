import { describe, expect, test } from "vitest";
import type { Dataset } from "../data/dataset.ts";
import { memoryDataset } from "../data/memory-dataset.ts";
import { naturalOrder } from "../data/sampler.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { usableLabels, useOfLabels } from "./label-use.ts";
import { meterOf } from "./metrics.ts";

const data = (labels: Tensor): Dataset =>
  memoryDataset(
    "d",
    new Map([["x", tensorOf("float32", [labels.shape[0], 1], new Float32Array(labels.shape[0]))]]),
    labels,
  );

async function measured(output: Tensor, labels: Tensor, areProbabilities?: boolean) {
  const dataset = data(labels);
  const use = usableLabels(useOfLabels({ ...output, name: "y" }, dataset), dataset);
  const meter = meterOf(use, dataset, areProbabilities);
  const indices = naturalOrder(dataset.length);
  const counted = meter.count(output, { ...(await dataset.read(indices)), index: 0, indices });
  const { metrics, bySample } = meter.measurement(counted);
  return { ...metrics, bySample };
}

const floats = (shape: readonly number[], values: readonly number[]): Tensor => tensorOf("float32", shape, values);
const integers = (shape: readonly number[], values: readonly number[]): Tensor => tensorOf("int64", shape, values);

describe("class scores", () => {
  test("give the cross-entropy of their softmax, probabilities of themselves", async () => {
    const { loss, top1, labels } = await measured(floats([2, 2], [1, 2, 3, 1]), integers([2], [0, 0]));
    expect([labels, top1]).toEqual(["classes", 50]);
    expect(loss).toBeCloseTo((Math.log(Math.E + Math.E ** 2) - 1 + Math.log(Math.E ** 3 + Math.E) - 3) / 2, 12);
    expect((await measured(floats([1, 2], [0.25, 0.75]), integers([1], [0]))).loss).toBeCloseTo(Math.log(4), 12);
    expect((await measured(floats([1, 2], [0.25, 0.75]), integers([1], [0]), false)).loss).toBeCloseTo(
      Math.log(1 + Math.exp(0.5)),
      7,
    );
  });

  test("a probability that rounds to 0 costs much, but not everything", async () => {
    const { loss } = await measured(floats([2, 2], [0, 1, 1, 0]), integers([2], [0, 0]));
    expect(loss).toBeCloseTo((149 * Math.log(2)) / 2, 9);
  });

  test("NaN is not a class", async () => {
    const scores = floats([2, 2], [Number.NaN, Number.NaN, Number.NaN, 0]);
    expect((await measured(scores, integers([2], [0, 0]))).top1).toBe(0);
    expect((await measured(floats([2, 1], [Number.NaN, -1]), integers([2], [0, 0]))).top1).toBe(50);
  });
});

describe("one score a sample", () => {
  // σ(z) against its closed form: −ln σ(z) for label 1, −ln σ(−z) for label 0.
  const logits = [2, -1, 0.5, -3];
  const classes = [1, 1, 0, 0];
  const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z));
  const loss = logits.reduce((sum, z, i) => sum - Math.log(sigmoid(classes[i] === 1 ? z : -z)), 0) / 4;

  test.each([
    ["int64 [N]", integers([4], classes), [4, 1]],
    ["int32 [N, 1]", tensorOf("int32", [4, 1], classes), [4]],
    ["bool [N]", tensorOf("bool", [4], classes), [4, 1, 1]],
    ["float32 [N, 1]", floats([4, 1], classes), [4, 1]],
    ["uint8 [N, 1]", tensorOf("uint8", [4, 1], classes), [4, 1]],
    ["float64 [N]", tensorOf("float64", [4], classes), [4]],
  ] as const)("is a logit or a probability, for labels of %s", async (_, labels, shape) => {
    for (const values of [logits, logits.map(sigmoid)]) {
      const found = await measured(floats(shape, values), labels);
      expect([found.labels, found.classes, found.top1, found.meanIou]).toEqual(["binary", 2, 50, null]);
      expect(found.loss).toBeCloseTo(loss, 6);
      expect(found.bySample.accuracy).toEqual([1, 0, 0, 1]);
    }
  });

  test("far from 0 keeps the loss finite and exact", async () => {
    const { loss } = await measured(floats([2, 1], [-1000, 1000]), integers([2], [1, 0]));
    expect(loss).toBe(1000);
  });
});

describe("a label for each position", () => {
  // 2 samples, 3 classes, 2×2: what each position is taken for.
  const found = [
    [0, 1, 2, 1],
    [2, 2, 0, 1],
  ];
  const labels = [
    [0, 1, 1, 1],
    [2, 0, 0, 255],
  ];
  const oneHot = (index: number): number[] => [0, 1, 2].map((each) => (each === index ? 3 : 0));
  const last = found.flat().flatMap(oneHot);
  const first = found.flatMap((sample) => [0, 1, 2].flatMap((each) => sample.map((index) => (each === index ? 3 : 0))));
  // IoU by class: 0: 2 of 3; 1: 2 of 3; 2: 1 of 3 (position 7 is ignored).
  const expected = { top1: (100 * 5) / 7, meanIou: (100 * (2 / 3 + 2 / 3 + 1 / 3)) / 3 };
  const right = Math.log(Math.exp(3) + 2) - 3;

  test.each([
    ["[N, C, H, W], labels [N, H, W]", floats([2, 3, 2, 2], first), [2, 2, 2]],
    ["[N, C, H, W], labels [N, 1, H, W]", floats([2, 3, 2, 2], first), [2, 1, 2, 2]],
    ["[N, H, W, C], labels [N, H, W]", floats([2, 2, 2, 3], last), [2, 2, 2]],
    ["[N, C, L], labels [N, L]", floats([2, 3, 4], first), [2, 4]],
    ["[N, L, C], labels [N, L]", floats([2, 4, 3], last), [2, 4]],
  ] as const)("has accuracy, loss and mean IoU: %s", async (_, output, shape) => {
    for (const ignored of [255, -1, -100]) {
      const values = labels.flat().map((label) => (label === 255 ? ignored : label));
      const { top1, meanIou, loss } = await measured(output, integers(shape, values));
      expect(top1).toBeCloseTo(expected.top1, 9);
      expect(meanIou).toBeCloseTo(expected.meanIou, 9);
      expect(loss).toBeCloseTo((5 * right + 2 * (right + 3)) / 7, 6);
    }
  });

  test("is 0 or 1 where there is one score for each", async () => {
    const scores = floats([2, 1, 2, 2], [1, -1, 2, -2, 3, 1, -1, -1]);
    const given = tensorOf("uint8", [2, 2, 2], [1, 0, 0, 0, 1, 255, 0, 1]);
    const { labels: kind, top1, meanIou } = await measured(scores, given);
    // Class 1: right 2 of 4 that are or are taken for it; class 0: 3 of 5.
    expect(kind).toBe("binary");
    expect(top1).toBeCloseTo((100 * 5) / 7, 9);
    expect(meanIou).toBeCloseTo((100 * (2 / 4 + 3 / 5)) / 2, 9);
  });

  test("out of range is refused", async () => {
    await expect(measured(floats([2, 3, 2, 2], first), integers([2, 2, 2], [0, 1, 2, 3, 0, 0, 0, 0]))).rejects.toThrow(
      'Label 3 (sample 0 of "d") is outside the model\'s classes 0 to 2, and none of -1, -100 and 255, which are ignored.',
    );
  });
});

describe("measured values", () => {
  test.each([
    ["float32 [N]", floats([4], [1.5, 2, 3, 4]), [4, 1]],
    ["float32 [N, 1]", floats([4, 1], [1.5, 2, 3, 4]), [4]],
    ["whole numbers below 0", integers([4], [-3, 2, 3, 4]), [4, 1]],
    ["whole numbers above 1", integers([4], [7, 2, 3, 4]), [4, 1]],
  ] as const)("have the root of the mean squared error, and the mean absolute one: %s", async (_, labels, shape) => {
    const first = Number(labels.data[0]);
    const found = await measured(floats(shape, [first + 1, 2, 3, 1]), labels);
    expect([found.labels, found.top1, found.rmse, found.mae]).toEqual(["values", null, Math.sqrt(10 / 4), 1]);
    expect(found.bySample.squaredError).toEqual([1, 0, 0, 9]);
  });
});

describe("labels that fit no output", () => {
  test.each([
    ["one-hot", floats([2, 3], [1, 2, 3, 4, 5, 6]), integers([2, 3], [1, 0, 0, 0, 0, 1]), /they are one-hot, .*argmax/],
    ["floats one-hot", floats([2, 3], [1, 2, 3, 4, 5, 6]), floats([2, 3], [1, 0, 0, 0, 0, 1]), /they are one-hot/],
    [
      "of another shape",
      floats([2, 3], [1, 2, 3, 4, 5, 6]),
      integers([2, 2], [1, 0, 0, 2]),
      /they are whole numbers \[samples, 2\], output "y" float32 \[2, 3\]/,
    ],
    [
      "along either axis",
      floats([1, 2, 2], [1, 2, 3, 4]),
      integers([1, 2], [1, 0]),
      /its classes may lie along axis 1 or the last one/,
    ],
    [
      "out of range",
      floats([2, 3], [1, 2, 3, 4, 5, 6]),
      { dtype: "uint64", shape: [2], data: BigUint64Array.of(0n, 2n ** 64n - 1n) } as Tensor,
      /label 18446744073709551615 \(sample 1, uint64\) is out of range/,
    ],
    ["NaN", floats([2, 1], [1, 2]), floats([2], [1, Number.NaN]), /label NaN \(sample 1, float32\)/],
  ])("%s say why and what to do", async (_, output, labels, message) => {
    await expect(measured(output, labels)).rejects.toThrow(message);
  });

  test("a Softmax says along which axis the classes lie", () => {
    const dataset = data(integers([1, 2], [1, 0]));
    const output = { ...floats([1, 2, 2], [1, 2, 3, 4]), name: "y", softmaxAxis: 2 };
    expect(useOfLabels(output, dataset)).toEqual({ kind: "classes", place: { axis: 2, classes: 2 } });
  });

  test("another output that they fit is named", () => {
    const dataset = data(integers([2], [1, 0]));
    const image = { ...floats([2, 2, 2], [0, 0, 0, 0, 0, 0, 0, 0]), name: "image" };
    const scores = { ...floats([2, 3], [0, 0, 0, 0, 0, 0]), name: "scores" };
    expect(useOfLabels(image, dataset, [scores])).toMatchObject({
      kind: "none",
      reason: expect.stringContaining('They fit output "scores"'),
    });
  });
});
