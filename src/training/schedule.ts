// Learning rates over a run.

/** Factor of the learning rate at `step` (from 0) of `total`. */
export function scheduleFactor(schedule: "constant" | "cosine", step: number, total: number): number {
  return schedule === "constant" ? 1 : 0.5 * (1 + Math.cos((Math.PI * step) / total));
}
