// Computes the statistics of batch normalization again, from the trained model.
import type { Graph } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { runningStatistics, trainBatchNorm } from "../passes/train-batch-norm.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";

/**
 * Running means and variances become the means of those of the batches, as PyTorch's update_bn does; those that no output
 * depends on stay. Batches are of `batchSize`; without batches or normalizations the graph comes back as it is.
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
  const sums = new Map(names.map((name) => [name, new Float64Array(sizeOf(graph.constants.get(name)?.shape ?? [0]))]));
  const { statistics, outputs } = statisticsGraph(sized, names);
  let count = 0;
  await withProgram(statistics, context, async (program) => {
    for await (const inputs of batches) {
      const statistics = await program.run(inputs, signalOf(context));
      for (const [name, output] of outputs) addTo(sums.get(name), statistics.get(output));
      count++;
      context.onProgress?.({ phase: "re-estimate statistics", done: count * batchSize, total });
    }
  });
  if (count === 0) return graph;
  const constants = new Map(graph.constants);
  for (const [name, sum] of sums) {
    const old = graph.constants.get(name);
    if (old)
      constants.set(
        name,
        tensorOf(
          old.dtype,
          old.shape,
          Array.from(sum, (value) => value / count),
        ),
      );
  }
  return { ...graph, constants };
}

function addTo(sum: Float64Array | undefined, found: Tensor | undefined): void {
  if (!sum || !found) throw new Error("internal: a statistic is missing");
  numbersOf(found).forEach((value, i) => {
    sum[i] += value;
  });
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
