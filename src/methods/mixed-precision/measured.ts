// What sensitivities are measured on, and what they give.
import type { Choice } from "./choices.ts";
import type { Inputs, Subject } from "./replace-weights.ts";

/** By weight, in the order of the choices, and by width: the smaller the better. */
export type Sensitivities = readonly ReadonlyMap<number, number>[];

export interface Measured extends Subject {
  readonly choices: readonly Choice[];
  /** Reads the samples of `batches` again, one in each. */
  readonly singles: () => Promise<readonly Inputs[]>;
}
