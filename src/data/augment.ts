// Random crop and flip, drawn from counters: the same sample in the same epoch is always changed the same way.
import { randomBelow, randomBits } from "./random.ts";

export const augmentations = ["crop", "flip"] as const;
export type Augmentation = (typeof augmentations)[number];

export interface Augment {
  readonly operations: readonly Augmentation[];
  readonly seed: number;
  readonly epoch: number;
}

/** How far the image moves, and whether it is mirrored. What moves in from outside is black: 0 before preprocessing. */
export interface Shift {
  readonly down: number;
  readonly right: number;
  readonly mirrored: boolean;
}

/** The border that a random crop pads with, in pixels. */
const cropPadding = 4;

export const noShift: Shift = { down: 0, right: 0, mirrored: false };

export function shiftOf(augment: Augment, sample: number): Shift {
  const { operations, seed, epoch } = augment;
  const offset = (stream: number): number =>
    operations.includes("crop") ? randomBelow(2 * cropPadding + 1, seed, epoch, sample, stream) - cropPadding : 0;
  return {
    down: offset(1),
    right: offset(2),
    mirrored: operations.includes("flip") && (randomBits(seed, epoch, sample, 3) & 1) === 1,
  };
}
