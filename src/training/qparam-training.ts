// How the quantizers' scales and zero points train: what the optimizer steps, and by which gradient.
import type { Builder } from "../ir/builder.ts";
import { zeros } from "../ir/tensor.ts";
import type { Rows } from "../ops/definition.ts";
import { addUpdate, type Optimizer } from "./optimizer.ts";

export const qparamTrainings = ["direct", "log2"] as const;
export type QparamTraining = (typeof qparamTrainings)[number];

/**
 * One step of θ = log₂ scale (EfQAT appendix A.2, after TQT): ∂L/∂θ = ∂L/∂scale · scale · ln 2. What is kept is the scale, times
 * 2^Δθ a step: θ itself would be rounded to 5e-7, as much as a step; rows that do not train keep their bytes.
 */
export function addLogarithmicUpdate(
  build: Builder,
  optimizer: Optimizer,
  scale: string,
  gradient: string,
  learningRate: string,
  rows: Rows | undefined,
): string {
  const { dtype, shape } = build.type(scale);
  const trained = rows ? build.node("Gather", [scale, rows.rows], { axis: rows.axis }) : scale;
  const slope = build.node("Mul", [trained, build.scalar(Math.LN2, scale)]);
  const origin = build.constant(zeros(dtype, shape.map(Number)), `${scale}/origin`);
  const byLogarithm = build.node("Mul", [gradient, slope]);
  const change = addUpdate(build, optimizer, scale, byLogarithm, learningRate, rows, origin);
  return build.node("Mul", [scale, build.node("Pow", [build.scalar(2, scale), change])]);
}
