// What would be tried for a goal, before anything is.
import type { RunOptions } from "../options/run-options.ts";
import { firstRungs, narrows } from "./climb.ts";
import { flagsOf } from "./ladder-report.ts";
import { rungsAt } from "./rungs.ts";

export interface PlannedRung {
  readonly name: string;
  /** What `quantize` is told for it alone. */
  readonly flags: string;
}

/** In the order in which they are tried, each until one is enough; of narrower weights those that come next where the last were enough. */
export function planOf(run: RunOptions): readonly PlannedRung[] {
  const { goal, methods } = run;
  if (!goal) return [{ name: "as named", flags: `--method ${methods.map(({ method }) => method).join(",")}` }];
  const rungs = [...firstRungs(goal), ...(narrows(goal) ? [4, 3, 2].flatMap((bits) => rungsAt(bits)) : [])];
  return rungs.map((rung) => ({ name: rung.name, flags: flagsOf(rung, run) }));
}
