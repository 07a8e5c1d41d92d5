// Accuracy of a graph on an engine.
import { type Batch, batches, runAhead } from "../data/batches.ts";
import { type Dataset, noLabels } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { logitsOf } from "../passes/class-scores.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";
import { batchThatFits } from "./batch-that-fits.ts";
import { type Accuracy, accuracyOf, addScores, checkLabels, emptyScore } from "./score.ts";

/**
 * Top-1 accuracy and cross-entropy of a graph whose first output is class scores, on an engine, over the whole dataset. `phase`
 * names the accuracy in the progress shown. Throws BAD_DATA where the dataset has no labels, or labels outside the classes.
 */
export async function evaluateGraph(
  graph: Graph,
  dataset: Dataset,
  preprocess: Preprocess,
  context: Context,
  phase: string,
): Promise<Accuracy> {
  if (!dataset.hasLabels) throw noLabels(dataset, "no accuracy can be measured on it. Give --test-data with labels.");
  const logits = logitsOf(graph);
  return withProgram(removeDeadNodes({ ...graph, outputs: [logits] }), context, async (program) => {
    const score = emptyScore();
    const all = batches(dataset, { batchSize: batchThatFits(graph), preprocess });
    const run = ({ inputs }: Batch) => program.run(inputs, signalOf(context));
    for await (const [batch, outputs] of runAhead(all, run)) {
      const scores = outputs.get(logits);
      assert(scores && batch.labels, "evaluation run without scores or labels");
      checkLabels(batch, dataset, scores.shape[1]);
      addScores(score, scores, batch.labels, false);
      const note = `top-1 ${accuracyOf(score).top1.toFixed(2)} %`;
      context.onProgress?.({ phase, done: score.samples, total: dataset.length, note });
    }
    return accuracyOf(score);
  });
}
