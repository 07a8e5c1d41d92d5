// What a walk over units holds of its samples.
import type { Graph } from "../ir/graph.ts";
import { bytesOf } from "../passes/peak-bytes.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { cutIntoUnits, type UnitKind } from "./units.ts";

/** Of so many samples, bytes of what passes between units at the most: in the float model and in the quantized one. */
export function streamBytes(float: Graph, kind: UnitKind, samples: number): number {
  const units = cutIntoUnits(float, kind);
  const { values } = setBatchSize(float, 1);
  const bytes = (names: Iterable<string>): number =>
    [...names].reduce((sum, name) => {
      const type = values.get(name);
      return sum + (type ? bytesOf(type) : 0);
    }, 0);
  const readLast = new Map(units.flatMap(({ inputs }, at) => inputs.map((name) => [name, at] as const)));
  const held = new Set(float.inputs);
  let most = 0;
  for (const [at, { inputs, outputs }] of units.entries()) {
    for (const output of outputs) held.add(output);
    most = Math.max(most, bytes(held));
    for (const name of [...inputs, ...outputs]) if ((readLast.get(name) ?? at) <= at) held.delete(name);
  }
  return 2 * most * samples;
}
