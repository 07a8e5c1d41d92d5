import { expect, test } from "vitest";
import { memoryDataset } from "../data/memory-dataset.ts";
import { preprocessPresets } from "../data/preprocess.ts";
import { type Tensor, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { type ChangedImages, calibrationBatches } from "./calibration-data.ts";

const [count, channels, side] = [22, 2, 6];
const size = channels * side * side;
const images: Tensor = {
  dtype: "uint8",
  shape: [count, channels, side, side],
  data: Uint8Array.from({ length: count * size }, (_, i) => 1 + ((i * 37 + Math.floor(i / size) * 5) % 255)),
};
const data = { train: memoryDataset("images", new Map([["x", images]])), preprocess: preprocessPresets.none };
const build = buildOn();
const x = build.input("x", { dtype: "float32", shape: ["N", channels, side, side] });
const graph = build.graph([build.node("Relu", [x])]);

/** Of 20 samples in batches of 4, each image by itself. */
async function collect(changed?: ChangedImages, seed = 3): Promise<readonly (readonly number[])[]> {
  const options = { calibrationSamples: 22, batchSize: 4, ...(changed && { changed }) };
  const found: number[][] = [];
  for await (const inputs of calibrationBatches(graph, data, options, { seed })()) {
    const numbers = toNumbers(inputs.get("x") as Tensor);
    expect(numbers).toHaveLength(4 * size);
    for (let i = 0; i < 4; i++) found.push(numbers.slice(i * size, (i + 1) * size));
  }
  return found;
}

/** What an image becomes when it moves and is mirrored, 0 outside. */
const moved = (image: readonly number[], down: number, right: number, isMirrored: boolean): readonly number[] =>
  image.map((_, i) => {
    const [row, column] = [Math.floor(i / side) % side, i % side];
    const [fromRow, at] = [row + down, column + right];
    const fromColumn = isMirrored ? side - 1 - at : at;
    const isInside = [fromRow, at].every((place) => place >= 0 && place < side);
    return isInside ? image[i - row * side - column + fromRow * side + fromColumn] : 0;
  });

const places = Array.from({ length: 9 }, (_, i) => i - 4);
const allMoved = (image: readonly number[]): ReadonlySet<string> =>
  new Set(
    places.flatMap((down) =>
      places.flatMap((right) => [false, true].map((mirrored) => moved(image, down, right, mirrored).join())),
    ),
  );

test("images are moved and mirrored, each time otherwise; those at the end are there once, as they are", async () => {
  const plain = await collect();
  expect(plain).toHaveLength(20);
  const found = await collect({ operations: ["crop", "flip"], copies: 3, unchanged: 4 });
  expect(found).toHaveLength(3 * 16 + 4);
  expect(found.slice(48)).toEqual(plain.slice(16));
  const choices = plain.map(allMoved);
  found.slice(0, 48).forEach((image, i) => {
    expect(choices[i % 16].has(image.join()), `image ${i}`).toBe(true);
  });
  for (const copy of [0, 1, 2]) {
    const [one, next] = [copy, (copy + 1) % 3].map((each) => found.slice(each * 16, (each + 1) * 16));
    expect(one).not.toEqual(next);
  }
});

test("flips alone move nothing; the seed decides, and each call gives the same", async () => {
  const plain = await collect();
  const changed = { operations: ["flip"], copies: 1, unchanged: 8 } as const;
  const found = await collect(changed);
  const mirrored = found.slice(0, 12).map((image, i) => {
    const isMirrored = image.join() === moved(plain[i], 0, 0, true).join();
    expect(isMirrored || image.join() === plain[i].join()).toBe(true);
    return isMirrored;
  });
  expect(new Set(mirrored).size).toBe(2);
  expect(await collect(changed)).toEqual(found);
  expect(await collect(changed, 4)).not.toEqual(found);
});
