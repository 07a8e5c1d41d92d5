import { describe, expect, it } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { runKernel } from "../../test/support/forward-check.ts";
import { takeRows } from "../../test/support/gradient-check.ts";
import { createRandom } from "../../test/support/random.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { kernels } from "./index.ts";

const random = createRandom(12);
const double = (...shape: number[]): Tensor => random.tensor("float64", shape);

describe("SgdUpdate", () => {
  it("is PyTorch's closed form: after three steps of a constant gradient, without decay", () => {
    const g = double(4);
    let [w, velocity] = [double(4), tensorOf("float64", [4], [0, 0, 0, 0])];
    const start = toNumbers(w);
    for (let step = 0; step < 3; step++)
      [w, velocity] = runKernel("SgdUpdate", [w, g, velocity, scalar("float64", 0.1)], { momentum: 0.9 }, kernels, 2);
    // Velocities are g, 1.9 g and 2.71 g.
    expectClose(
      toNumbers(velocity),
      toNumbers(g).map((value) => 2.71 * value),
    );
    expectClose(
      toNumbers(w),
      start.map((value, i) => value - 0.1 * 5.61 * Number(g.data[i])),
    );
  });

  it("decays the weight through the velocity", () => {
    const attributes = { momentum: 0.5, weightDecay: 0.1 };
    const one = (value: number): Tensor => tensorOf("float64", [1], [value]);
    const results = runKernel("SgdUpdate", [one(2), one(3), one(4), scalar("float64", 0.5)], attributes, kernels, 2);
    expectClose(results.flatMap(toNumbers), [2 - 0.5 * 5.2, 5.2]);
  });
});

/** torch.optim.Adam's documentation, line by line, for one element; gives w, m, v after `steps` equal gradients. */
function adam(start: number, g: number, steps: number, rate: number): [number, number, number] {
  let [w, m, v] = [start, 0, 0];
  for (let t = 1; t <= steps; t++) {
    const decayed = g + 0.01 * w;
    m = 0.8 * m + 0.2 * decayed;
    v = 0.95 * v + 0.05 * decayed ** 2;
    const unbiasedM = m / (1 - 0.8 ** t);
    const unbiasedV = v / (1 - 0.95 ** t);
    w -= (rate * unbiasedM) / (Math.sqrt(unbiasedV) + 1e-6);
  }
  return [w, m, v];
}

const adamAttributes = { beta1: 0.8, beta2: 0.95, epsilon: 1e-6, weightDecay: 0.01 };

describe("AdamUpdate", () => {
  it("is torch.optim.Adam, for three steps", () => {
    const g = double(5);
    const zero = tensorOf("float64", [5], [0, 0, 0, 0, 0]);
    let [w, m, v, step] = [double(5), zero, zero, scalar("float64", 0)];
    const expected = toNumbers(w).map((value, i) => adam(value, Number(g.data[i]), 3, 0.05));
    for (let t = 0; t < 3; t++)
      [w, m, v, step] = runKernel(
        "AdamUpdate",
        [w, g, m, v, step, scalar("float64", 0.05)],
        adamAttributes,
        kernels,
        4,
      );
    for (const [i, value] of [w, m, v].entries())
      expectClose(
        toNumbers(value),
        expected.map((element) => element[i]),
      );
    expect(toNumbers(step)).toEqual([3]);
  });

  it("is torch.optim.AdamW where decay is decoupled: three steps of PyTorch 1.13", () => {
    const gradients = [
      [0.3, -0.2, 0.1],
      [-0.4, 0.6, 0.05],
      [1.5, 0, -0.7],
    ];
    const attributes = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.2, decoupled: 1 };
    const vector = (values: readonly number[]): Tensor => tensorOf("float64", [3], values);
    let [w, m, v, step] = [vector([0.5, -1.25, 2]), vector([0, 0, 0]), vector([0, 0, 0]), scalar("float64", 0)];
    for (const g of gradients)
      [w, m, v, step] = runKernel(
        "AdamUpdate",
        [w, vector(g), m, v, step, scalar("float64", 0.1)],
        attributes,
        kernels,
        4,
      );
    expectClose(toNumbers(w), [0.3376400931620643, -1.167081623681646, 1.7467186587571821]);
  });

  it("counts steps per row: a row that joins late is at its own first step", () => {
    const g = double(3, 2);
    const zero = tensorOf("float64", [3, 2], [0, 0, 0, 0, 0, 0]);
    let [w, m, v, step] = [double(3, 2), zero, zero, tensorOf("float64", [3], [0, 0, 0])];
    const start = toNumbers(w);
    for (const rows of [[2], [2, 0], []]) {
      const inputs = [
        w,
        takeRows(g, 0, rows),
        m,
        v,
        step,
        scalar("float64", 0.05),
        tensorOf("int64", [rows.length], rows),
      ];
      [w, m, v, step] = runKernel("AdamUpdate", inputs, { ...adamAttributes, axis: 0 }, kernels, 4);
    }
    const stepsOfRow = [1, 0, 2];
    const expected = start.map((value, i) => adam(value, Number(g.data[i]), stepsOfRow[Math.floor(i / 2)], 0.05));
    expectClose(
      toNumbers(w),
      expected.map(([value]) => value),
    );
    expect(toNumbers(step)).toEqual(stepsOfRow);
  });
});

it("SgdUpdate with rows changes these rows alone, as the whole step would", () => {
  const [w, g, velocity] = [double(3, 4, 2), double(3, 4, 2), double(3, 4, 2)];
  const rate = scalar("float64", 0.1);
  const attributes = { momentum: 0.9, weightDecay: 0.01 };
  const rows = [3, 1];
  const whole = runKernel("SgdUpdate", [w, g, velocity, rate], attributes, kernels, 2);
  const inputs = [w, takeRows(g, 1, rows), velocity, rate, tensorOf("int64", [2], rows)];
  const some = runKernel("SgdUpdate", inputs, { ...attributes, axis: 1 }, kernels, 2);
  for (const [i, before] of [w, velocity].entries()) {
    expectClose(takeRows(some[i], 1, rows), takeRows(whole[i], 1, rows));
    expect(takeRows(some[i], 1, [0, 2])).toEqual(takeRows(before, 1, [0, 2]));
  }
});
