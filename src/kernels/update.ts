// Optimizer steps, element by element.
import { assert } from "../ir/errors.ts";
import type { Node } from "../ir/graph.ts";
import { sizeOf, type Tensor, toNumbers } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { resolveAxis } from "../ops/operands.ts";
import { float64Of, fromFloat64 } from "./float64.ts";
import type { Kernel } from "./kernel.ts";

/** Visits every element that a step changes: its place in the weight, in the gradient, and its row. */
function forEachUpdated(
  w: Tensor,
  rows: Tensor | undefined,
  node: Node,
  visit: (at: number, gradientAt: number, row: number) => void,
): void {
  if (!rows) {
    for (let i = 0; i < w.data.length; i++) visit(i, i, 0);
    return;
  }
  const axis = resolveAxis(node, numberAttribute(node, "axis", 0), w.shape.length);
  const outer = sizeOf(w.shape.slice(0, axis));
  const inner = sizeOf(w.shape.slice(axis + 1));
  const selected = toNumbers(rows);
  for (let o = 0; o < outer; o++)
    selected.forEach((row, r) => {
      const from = (o * selected.length + r) * inner;
      const to = (o * w.shape[axis] + row) * inner;
      for (let i = 0; i < inner; i++) visit(to + i, from + i, row);
    });
}

const SgdUpdate: Kernel = ([w, g, velocity, learningRate, rows], node) => {
  assert(w && g && velocity && learningRate, "SgdUpdate lacks inputs");
  const momentum = numberAttribute(node, "momentum", 0);
  const weightDecay = numberAttribute(node, "weightDecay", 0);
  const [rate] = float64Of(learningRate, node);
  const gradient = float64Of(g, node);
  const newW = float64Of(w, node).slice();
  const newVelocity = float64Of(velocity, node).slice();
  forEachUpdated(w, rows, node, (at, gradientAt) => {
    newVelocity[at] = momentum * newVelocity[at] + gradient[gradientAt] + weightDecay * newW[at];
    newW[at] -= rate * newVelocity[at];
  });
  return [fromFloat64(w.dtype, w.shape, newW, node), fromFloat64(velocity.dtype, w.shape, newVelocity, node)];
};

/** Steps counted: of the rows that change, or of the whole weight. */
function countSteps(step: Tensor, rows: Tensor | undefined, node: Node): Float64Array {
  const steps = float64Of(step, node).slice();
  for (const row of rows ? toNumbers(rows) : [0]) steps[row]++;
  return steps;
}

const AdamUpdate: Kernel = ([w, g, m, v, step, learningRate, rows], node) => {
  assert(w && g && m && v && step && learningRate, "AdamUpdate lacks inputs");
  const beta1 = numberAttribute(node, "beta1", 0.9);
  const beta2 = numberAttribute(node, "beta2", 0.999);
  const epsilon = numberAttribute(node, "epsilon", 1e-8);
  const isDecoupled = numberAttribute(node, "decoupled", 0) === 1;
  const weightDecay = numberAttribute(node, "weightDecay", 0);
  const [rate] = float64Of(learningRate, node);
  const gradient = float64Of(g, node);
  const [newW, newM, newV] = [w, m, v].map((input) => float64Of(input, node).slice());
  const steps = countSteps(step, rows, node);
  const rates = steps.map((t) => rate / (1 - beta1 ** t));
  const corrections = steps.map((t) => Math.sqrt(1 - beta2 ** t));
  forEachUpdated(w, rows, node, (at, gradientAt, row) => {
    const decayed = gradient[gradientAt] + (isDecoupled ? 0 : weightDecay * newW[at]);
    if (isDecoupled) newW[at] *= 1 - rate * weightDecay;
    newM[at] = beta1 * newM[at] + (1 - beta1) * decayed;
    newV[at] = beta2 * newV[at] + (1 - beta2) * decayed * decayed;
    newW[at] -= (rates[row] * newM[at]) / (Math.sqrt(newV[at]) / corrections[row] + epsilon);
  });
  return [
    fromFloat64(w.dtype, w.shape, newW, node),
    fromFloat64(m.dtype, w.shape, newM, node),
    fromFloat64(v.dtype, w.shape, newV, node),
    fromFloat64(step.dtype, step.shape, steps, node),
  ];
};

export const updateKernels = { SgdUpdate, AdamUpdate } satisfies Record<string, Kernel>;
