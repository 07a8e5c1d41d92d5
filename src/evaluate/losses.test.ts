import { describe, expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { tensorOf } from "../ir/tensor.ts";
import { addDistance, distanceOf, noDistance, type OutputDistance } from "./distance.ts";
import { lossOf } from "./losses.ts";

const random = createRandom(2);
const normal = (): number => random.normal();

/** Two batches of an output, and of what quantization made of it, element by element. */
function compared(
  shape: readonly number[],
  value: (index: number) => number,
  quantized: (value: number, index: number) => number,
): OutputDistance {
  const total = noDistance();
  const size = shape.reduce((product, axis) => product * axis, 1);
  for (let batch = 0; batch < 2; batch++) {
    const values = Array.from({ length: size }, (_, i) => value(i));
    addDistance(total, tensorOf("float32", shape, values), tensorOf("float32", shape, values.map(quantized)));
  }
  return distanceOf("y", total);
}

describe("an output whose scores all became 0", () => {
  const boxesAndScores = (shape: readonly number[], isScore: (index: number) => boolean): OutputDistance =>
    compared(
      shape,
      (i) => (isScore(i) ? random.uniform() : 320 * random.uniform()),
      (value, i) => (isScore(i) ? 0 : Math.round(value)),
    );

  test("is found on the last axis, though its SQNR is high", () => {
    const output = boxesAndScores([8, 6, 7], (i) => i % 7 >= 4);
    expect(output.sqnrDb).toBeGreaterThan(40);
    expect(output.channels).toMatchObject({ leastDb: 0, axis: 2, still: 3, channels: 7 });
    expect(lossOf(output)).toBe("3 of 7 channels no longer vary");
  });

  test("is found on the second axis too, beside positions on the last", () => {
    const output = boxesAndScores([2, 6, 500], (i) => Math.floor(i / 500) % 6 === 5);
    expect(output.channels).toMatchObject({ axis: 1, channel: 5, still: 1, channels: 6 });
    expect(lossOf(output)).toBe("1 of 6 channels no longer varies");
  });

  test("is found in lists of few numbers, whose largest stays the same", () => {
    const output = boxesAndScores([32, 6], (i) => i % 6 >= 4);
    expect(output.agreement).toBeGreaterThan(0.9);
    expect(lossOf(output)).toBe("2 of 6 channels no longer vary");
  });
});

describe("whole numbers", () => {
  const wholes = (values: readonly number[], quantized: readonly number[]): OutputDistance => {
    const total = noDistance();
    addDistance(total, tensorOf("int64", [values.length], values), tensorOf("int64", [values.length], quantized));
    return distanceOf("y", total);
  };
  const indices = Array.from({ length: 300 }, (_, i) => (i * 7) % 10);

  test("are lost where they are no longer the same, and none is near", () => {
    const turned = indices.map((index) => (index < 5 ? index : 14 - index));
    expect(lossOf(wholes(indices, turned))).toBeUndefined();
    expect(
      lossOf(
        wholes(
          indices,
          indices.map((index) => (index + 3) % 10),
        ),
      ),
    ).toBe("0.0 % of the values are the same, and one number alone would be in 10.0 %");
    const truths = indices.map((index) => Number(index > 4));
    expect(
      lossOf(
        wholes(
          truths,
          truths.map((truth, i) => (i % 2 === 0 ? truth : 1 - truth)),
        ),
      ),
    ).toMatch(/^50\.0 %/);
  });
  test("are of use where most are the same, or near as amounts are, where there is but one, and where many are indices in an order of their own", () => {
    expect(
      lossOf(
        wholes(
          indices,
          indices.map((index, i) => (i % 20 === 0 ? 9 - index : index)),
        ),
      ),
    ).toBeUndefined();
    const amounts = indices.map((index) => 100 + 20 * index);
    expect(
      lossOf(
        wholes(
          amounts,
          amounts.map((amount) => amount + 1),
        ),
      ),
    ).toBeUndefined();
    const places = Array.from({ length: 300 }, (_, i) => i);
    expect(lossOf(wholes(places, places.toReversed()))).toBeUndefined();
    const zeros = indices.map(() => 0);
    expect(
      lossOf(
        wholes(
          zeros,
          zeros.map((_, i) => Number(i === 7)),
        ),
      ),
    ).toBeUndefined();
  });
});

describe("an output is lost", () => {
  test("where it no longer varies beside a large mean", () => {
    const output = compared(
      [16, 1, 8, 8],
      () => 300 + normal(),
      () => 300,
    );
    expect(output.sqnrDb).toBeGreaterThan(40);
    expect(lossOf(output)).toBe("it no longer varies");
  });

  test("where half of it is noise, or three quarters of a channel's energy", () => {
    const noise = (level: number) => (value: number) => value + level * normal();
    expect(lossOf(compared([8, 1, 32, 32], normal, noise(0.6)))).toBe("it is mostly noise");
    expect(lossOf(compared([8, 1, 32, 32], normal, noise(0.4)))).toBeUndefined();
    const background = (i: number) => (i % 2 === 0 ? 10 + normal() : normal());
    const face = compared([8, 300, 2], background, (value, i) => (i % 2 === 0 ? value : value + normal()));
    expect(face.sqnrDb).toBeGreaterThan(18);
    expect(lossOf(face)).toBe("1 of 2 channels is mostly noise");
  });

  test("where the class is no better than a constant's", () => {
    const scores = compared([64, 10], normal, () => normal());
    expect(lossOf(scores)).toMatch(
      /^the class is the same in \d+\.\d % of the samples, and one class alone would be in/,
    );
  });

  test("where it is NaN", () => {
    expect(lossOf(compared([4, 1, 8, 8], normal, () => Number.NaN))).toBe("it is mostly noise");
  });
});

describe("an output is of use", () => {
  test("where classes stay, at whatever SQNR", () => {
    const scores = compared(
      [64, 10],
      (i) => (i % 10 === Math.floor(i / 10) % 10 ? 9 : normal()),
      (value) => value / 2,
    );
    expect(scores.sqnrDb).toBeLessThan(6.1);
    expect(lossOf(scores)).toBeUndefined();
  });

  test("where channels are constant, 0 throughout, or rounding errors beside the others", () => {
    const channel = [() => 0, () => 5, () => 1e-7 * normal(), () => 10 * normal()];
    const output = compared(
      [8, 50, 4],
      (i) => channel[i % 4](),
      (value) => Math.round(value * 32) / 32,
    );
    expect(lossOf(output)).toBeUndefined();
  });

  test("where probabilities of classes that are never seen round to 0", () => {
    const output = compared(
      [64, 300, 3],
      (i) => (i % 3 === 2 ? 0.002 * random.uniform() : random.uniform()),
      (value) => Math.round(value * 255) / 255,
    );
    expect(lossOf(output)).toBeUndefined();
  });
});
