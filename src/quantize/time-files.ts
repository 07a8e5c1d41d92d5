// How long graphs take as files, before one of them is chosen.
import { measureLatency } from "../evaluate/latency.ts";
import type { ModelFile } from "../evaluate/model-file.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { writeModel } from "./export-model.ts";
import type { FormattedJob } from "./job.ts";

/** Of each file: enough rounds for a median, little where there are many layers. */
const budgetMs = 40;

/** Median milliseconds of a run of each graph, in turn. */
export async function timeFiles(
  job: FormattedJob,
  graphs: readonly Graph[],
  inputs: ReadonlyMap<string, Tensor>,
): Promise<readonly number[]> {
  const opened: ModelFile[] = [];
  try {
    for (const graph of graphs) {
      const [{ bytes }] = writeModel(job, graph).files;
      opened.push(await job.openDeployed(bytes));
    }
    return await measureLatency(opened, [inputs], { budgetMs: budgetMs * graphs.length, most: 200 });
  } finally {
    await Promise.all(opened.map((file) => file.dispose()));
  }
}
