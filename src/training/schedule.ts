// Learning rates over a run.

export const schedules = ["constant", "cosine", "step", "one-cycle"] as const;

export interface ScheduleOptions {
  readonly schedule: (typeof schedules)[number];
  /** Share of the steps. */
  readonly warmup: number;
  /** Of schedule step: shares of the steps after warm-up, and the factor at each. */
  readonly milestones: readonly number[];
  readonly decay: number;
}

/** Of a one-cycle run, the share in which rates rise, and what they start from and end at, of their most (PyTorch's). */
const oneCycle = { rise: 0.3, start: 1 / 25, end: 1 / 25e4 };

/** From `from` to `to` along half a cosine; `progress` from 0 to 1. */
const anneal = (from: number, to: number, progress: number): number =>
  to + ((from - to) * (1 + Math.cos(Math.PI * progress))) / 2;

/** Factor of the learning rates at `step` (from 0) of `total`. The first `warmup` of the steps rise linearly to the schedule. */
export function scheduleFactor(options: ScheduleOptions, step: number, total: number): number {
  const warmed = Math.round(options.warmup * total);
  if (step < warmed) return (step + 1) / (warmed + 1);
  return factorAt(options, step - warmed, total - warmed);
}

function factorAt({ schedule, milestones, decay }: ScheduleOptions, step: number, total: number): number {
  if (schedule === "cosine") return anneal(1, 0, step / total);
  if (schedule === "step") return decay ** milestones.filter((milestone) => step >= milestone * total).length;
  return schedule === "constant" ? 1 : oneCycleFactor(step, total);
}

function oneCycleFactor(step: number, total: number): number {
  const { rise, start, end } = oneCycle;
  const top = Math.max(0, rise * total - 1);
  if (step < top) return anneal(start, 1, step / top);
  return anneal(1, end, total - 1 > top ? (step - top) / (total - 1 - top) : 0);
}
