// softmax(scale · q k + mask) v, as graphs have it.
import type { Node } from "../../../ir/graph.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { isSame, readersOf, type Surroundings, scaling, shapeOf, soleSource } from "./surroundings.ts";

/** Scores as a product gives them, and what is done to them. */
interface Scores {
  /** q [batch, rows, size] times k [batch, size, keys]. Rows are those of one head, or of several that share their keys. */
  readonly product: Node;
  readonly scale: number;
  /** Added to the scores after they are scaled, [heads, queries, keys] or broadcast to that. */
  readonly mask: string | undefined;
}

export interface Attention extends Scores {
  readonly softmax: Node;
  /** Probabilities as the second product reads them, of the first product's shape. */
  readonly weights: string;
  /** Weights times v [batch, keys, width]. */
  readonly mixed: Node;
}

/** The attention around a softmax; `undefined` where it is around something else, or its scores are wanted. */
export function findAttention(around: Surroundings, softmax: Node): Attention | undefined {
  const [x] = softmax.inputs;
  const shape = shapeOf(around, x);
  const axis = numberAttribute(softmax, "axis", -1);
  if (softmax.op !== "Softmax" || shape.length < 2 || (axis !== -1 && axis !== shape.length - 1)) return undefined;
  const scores = scoresOf(around, x);
  const rows = shapeOf(around, scores?.product.outputs[0] ?? "");
  const [queries, keys] = shape.slice(-2);
  const isWhole = rows.length >= 2 && rows.at(-1) === keys && rows[rows.length - 2] % queries === 0;
  return scores && isWhole ? mixing(around, scores, softmax, rows) : undefined;
}

/** The same with the product that reads the probabilities. */
function mixing(around: Surroundings, scores: Scores, softmax: Node, rows: readonly number[]): Attention | undefined {
  const [probabilities] = softmax.outputs;
  const reshaped = readersOf(around, probabilities).flatMap(({ op, outputs }) => (op === "Reshape" ? outputs : []));
  const views = [probabilities, ...reshaped];
  if (views.some((value) => around.kept.has(value))) return undefined;
  for (const weights of views.filter((value) => isSame(shapeOf(around, value), rows)))
    for (const mixed of readersOf(around, weights)) {
      const [a, v] = mixed.inputs;
      const isMixed = mixed.op === "MatMul" && a === weights && v !== weights;
      const batch = shapeOf(around, mixed.outputs[0]).slice(0, -2);
      const areMatrices = [...scores.product.inputs, v].every((value) => shapeOf(around, value).length >= 2);
      if (isMixed && areMatrices && isSame(batch, rows.slice(0, -2))) return { ...scores, softmax, weights, mixed };
    }
  return undefined;
}

/** What a value, read once, is made of: a product, scaled, in another shape, masked last. */
function scoresOf(around: Surroundings, value: string): Scores | undefined {
  const node = soleSource(around, value);
  if (!node) return undefined;
  if (node.op === "MatMul") return { product: node, scale: 1, mask: undefined };
  if (node.op === "Add") return maskedScores(around, node);
  const scaled = node.op === "Reshape" ? { of: node.inputs[0], factor: 1 } : scaling(around, node);
  const scores = scaled && scoresOf(around, scaled.of);
  return scores && scores.mask === undefined ? { ...scores, scale: scores.scale * scaled.factor } : undefined;
}

function maskedScores(around: Surroundings, { inputs: [a, b], outputs: [y] }: Node): Scores | undefined {
  const shape = shapeOf(around, y);
  for (const [value, mask] of [
    [a, b],
    [b, a],
  ]) {
    if (!isSame(shapeOf(around, value), shape) || !isMask(shapeOf(around, mask), shape)) continue;
    const scores = scoresOf(around, value);
    if (scores && scores.mask === undefined) return { ...scores, mask };
  }
  return undefined;
}

/** Whether it has a number for each key, for each query or for all. */
function isMask(mask: readonly number[], scores: readonly number[]): boolean {
  const [queries, keys] = [1, ...mask].slice(-2);
  return mask.length > 0 && keys === scores.at(-1) && (queries === 1 || queries === scores.at(-2));
}
