// At which sizes an inspection counts multiply-adds.
import type { Inspection } from "../inspect/inspect-model.ts";

/** What the multiply-adds are of, where sizes decide: "at sequence 64, without 2 nodes of unknown size". */
export function countedAt({ sizes, uncounted }: Pick<Inspection, "sizes" | "uncounted">): string {
  const given = Object.entries(sizes).map(([name, size]) => `${name} ${size}`);
  const count = `${uncounted.length} node${uncounted.length === 1 ? "" : "s"}`;
  return [
    ...(given.length > 0 ? [`at ${given.join(", ")}`] : []),
    ...(uncounted.length > 0 ? [`without ${count} whose sizes only a run knows`] : []),
  ].join(", ");
}
