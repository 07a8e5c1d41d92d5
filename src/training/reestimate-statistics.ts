// Computes the statistics of batch normalization again, from the trained model.
import { startCounting } from "../distributed/tally.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { runningStatistics, trainBatchNorm } from "../passes/train-batch-norm.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";

/**
 * Running means and variances become the means of those of the batches, as PyTorch's update_bn does; those that no output
 * depends on stay. Batches are of `batchSize`, of which several processes each give a part; without batches or normalizations the graph
 * comes back as it is.
 */
export async function reestimateStatistics(
  graph: Graph,
  batchSize: number,
  batches: AsyncIterable<ReadonlyMap<string, Tensor>>,
  total: number,
  context: Context,
): Promise<Graph> {
  const sized = setBatchSize(graph, batchSize);
  const names = [...new Set(runningStatistics(sized))];
  if (names.length === 0) return graph;
  const { statistics, outputs } = statisticsGraph(sized, names);
  const counting = startCounting(context.communicator);
  const sharing = context.communicator?.size ?? 1;
  let done = 0;
  await withProgram(statistics, context, async (program) => {
    for await (const inputs of batches) {
      const statistics = await program.run(inputs, signalOf(context));
      const sums = [...outputs.values()].map((output) => {
        const found = statistics.get(output);
        assert(found, "a statistic is missing");
        return numbersOf(found);
      });
      counting.add({ sums: [[1], ...sums], lists: [] });
      done = Math.min(total, done + batchSize * sharing);
      context.onProgress?.({ phase: "re-estimate statistics", done, total });
    }
  });
  const counted = await counting.end();
  if (!counted) return graph;
  const constants = new Map(graph.constants);
  const [[count], ...sums] = counted.sums.map((sum) => Array.from(sum));
  for (const [i, name] of [...outputs.keys()].entries()) {
    const old = graph.constants.get(name);
    const means = sums[i].map((value) => value / count);
    if (old) constants.set(name, tensorOf(old.dtype, old.shape, means));
  }
  return { ...graph, constants };
}

/** A graph without variables that gives, for each running statistic, the batch's own: what it would become at momentum 0. */
function statisticsGraph(
  graph: Graph,
  names: readonly string[],
): { statistics: Graph; outputs: ReadonlyMap<string, string> } {
  const nodes = graph.nodes.map((node) =>
    node.op === "BatchNormalization" ? { ...node, attributes: { ...node.attributes, momentum: 0 } } : node,
  );
  const trained = trainBatchNorm({ ...graph, nodes });
  const starts = new Map(
    names.flatMap((name) => (graph.constants.has(name) ? [[name, graph.constants.get(name) as Tensor]] : [])),
  );
  const whole = {
    ...trained,
    constants: new Map([...trained.constants, ...starts]),
    variables: [],
    updates: new Map(),
  };
  const build = buildOn(whole);
  const outputs = new Map(
    [...trained.updates].map(([name, value]) => [name, build.node("Identity", [value])] as const),
  );
  return { statistics: build.graph([...outputs.values()]), outputs };
}
