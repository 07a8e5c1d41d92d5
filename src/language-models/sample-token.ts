// Which token comes next: the likeliest, or one drawn.
import { randomBits } from "../data/random.ts";

/** How the next token is chosen. */
export interface Sampling {
  /** What logits are divided by before a token is drawn; 0 takes the likeliest. */
  readonly temperature: number;
  /** Of the likeliest tokens that together have this probability one is drawn. */
  readonly topP: number;
  readonly seed: number;
}

/** `step`: how many tokens were drawn before. The same seed and step draw the same. */
export function sampleToken(logits: ArrayLike<number>, { temperature, topP, seed }: Sampling, step: number): number {
  const best = likeliest(logits);
  if (temperature === 0) return best;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - logits[best]) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const order = Uint32Array.from(weights.keys()).sort((a, b) => weights[b] - weights[a] || a - b);
  let kept = 0;
  let mass = 0;
  while (kept < order.length && (kept === 0 || mass < topP * total)) mass += weights[order[kept++]];
  const drawn = (randomBits(seed, step) / 2 ** 32) * mass;
  let sum = 0;
  const at = order.subarray(0, kept).findIndex((id) => {
    sum += weights[id];
    return drawn < sum;
  });
  return order[at < 0 ? kept - 1 : at];
}

/** Of equal ones the first. */
function likeliest(logits: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  return best;
}
