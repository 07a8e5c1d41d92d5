// Pictures with what photographs have: smooth light, soft edges, fine stripes, a little noise.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { createRandom, type Random } from "./random.ts";

interface Disc {
  readonly x: number;
  readonly y: number;
  readonly radius: number;
  readonly colour: readonly number[];
  /** Radians a pixel; 0: plain. */
  readonly stripes: number;
}

const colourOf = (random: Random): readonly number[] => [0, 0, 0].map(() => random.uniform(0, 255));

function drawDisc(random: Random, height: number, width: number): Disc {
  return {
    x: random.uniform(0, width),
    y: random.uniform(0, height),
    radius: random.uniform(0.05, 0.25) * height,
    colour: colourOf(random),
    stripes: random.uniform() < 0.4 ? random.uniform(0.2, 1.2) : 0,
  };
}

function cover({ x, y, radius, stripes }: Disc, column: number, row: number): number {
  const distance = Math.hypot(column - x, row - y) / radius;
  const inside = Math.max(0, Math.min(1, (1 - distance) * 6));
  return stripes === 0 ? inside : inside * (0.5 + 0.5 * Math.sin(column * stripes));
}

/** Bytes [height, width, 3]. `tint`: the ground's colour; else it is drawn. */
function drawPicture(random: Random, height: number, width: number, tint = colourOf(random)): Uint8Array {
  const pixels = new Uint8Array(height * width * 3);
  const [right, down] = [colourOf(random), colourOf(random)];
  const discs = Array.from({ length: 8 }, () => drawDisc(random, height, width));
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++) {
      const shares = discs.map((disc) => cover(disc, column, row));
      const noise = random.uniform(-6, 6);
      for (let channel = 0; channel < 3; channel++) {
        const light = (column / width) * (right[channel] - 128) + (row / height) * (down[channel] - 128);
        let value = tint[channel] + 0.4 * light;
        for (const [i, share] of shares.entries()) value += share * (discs[i].colour[channel] - value);
        pixels[(row * width + column) * 3 + channel] = Math.max(0, Math.min(255, value + noise));
      }
    }
  return pixels;
}

export interface PictureSet {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly seed: number;
  readonly tint?: readonly number[];
}

/** Writes 0.png, 1.png, … */
export async function drawPictures(folder: string, { count, height, width, seed, tint }: PictureSet): Promise<void> {
  const random = createRandom(seed);
  await mkdir(folder, { recursive: true });
  for (let i = 0; i < count; i++)
    await sharp(drawPicture(random, height, width, tint), { raw: { width, height, channels: 3 } })
      .png()
      .toFile(join(folder, `${i}.png`));
}
