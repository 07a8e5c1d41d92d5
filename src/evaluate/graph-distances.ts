// How far a graph's outputs are from those of another graph with the same outputs.
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withPrograms } from "../run/with-program.ts";
import { addDistance, distanceOf, noDistance, type OutputDistance } from "./distance.ts";

/** By output: `second` against `first`. */
export async function graphDistances(
  first: Graph,
  second: Graph,
  outputs: readonly string[],
  batches: readonly ReadonlyMap<string, Tensor>[],
  context: Context,
): Promise<readonly OutputDistance[]> {
  if (outputs.length === 0) return [];
  const totals = outputs.map((name) => ({ name, distance: noDistance() }));
  const graphs = [first, second].map((graph) => removeDeadNodes({ ...graph, outputs }));
  await withPrograms(graphs, context, async (programs) => {
    for (const inputs of batches) {
      const [expected, actual] = [
        await programs[0].run(inputs, signalOf(context)),
        await programs[1].run(inputs, signalOf(context)),
      ];
      for (const { name, distance } of totals) {
        const [a, b] = [expected.get(name), actual.get(name)];
        assert(a && b, `a graph lacks output "${name}"`);
        addDistance(distance, a, b);
      }
    }
  });
  return totals.map(({ name, distance }) => distanceOf(name, distance));
}
