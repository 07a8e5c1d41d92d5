// What a graph computes of many values for one batch: of those of some items at a time, since all together may not fit into memory.
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import type { Context } from "../run/context.ts";
import { isLarge, valuesByStage } from "../run/with-few-runs.ts";
import type { Fetches } from "./batch-that-fits.ts";

type Values = ReadonlyMap<string, Tensor>;

interface Fetched<T> extends Pick<Fetches<T>, "groups"> {
  readonly inputs: Values;
  readonly valuesOf: (item: T) => readonly string[];
}

/**
 * Every item with its values, inputs of the graph among them, in an order in which the graph computes them: group by group, each by a
 * run of its own; of a large graph in one run, stage by stage.
 */
export async function* fetchEach<T>(
  graph: Graph,
  { groups, inputs, valuesOf }: Fetched<T>,
  context: Context,
  sizes?: Parameters<typeof valuesByStage>[4],
): AsyncGenerator<readonly [item: T, values: Values], void, undefined> {
  const computed = (items: readonly T[]): readonly string[] =>
    [...new Set(items.flatMap(valuesOf))].filter((name) => !inputs.has(name));
  const all = groups.flat();
  const isStaged = isLarge(removeDeadNodes({ ...graph, outputs: computed(all) }), sizes?.wholeBytes);
  for (const group of isStaged ? [all] : groups) {
    const names = computed(group);
    const left = new Set(group);
    let held = inputs;
    for await (const made of names.length === 0
      ? [new Map<string, Tensor>()]
      : valuesByStage(graph, names, inputs, context, sizes)) {
      held = new Map([...held, ...made]);
      for (const item of left) {
        if (!valuesOf(item).every((name) => held.has(name))) continue;
        left.delete(item);
        yield [item, held];
      }
      const wanted = new Set([...left].flatMap(valuesOf));
      held = new Map([...held].filter(([name]) => wanted.has(name) || inputs.has(name)));
    }
    assert(left.size === 0, `${left.size} items lack a value`);
  }
}
