// The loss that training lessens, of a model as it is.
import type { Batch } from "../data/batches.ts";
import { startCounting } from "../distributed/tally.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";
import { addLoss, type LossOptions } from "./loss.ts";
import { inputsOfBatches } from "./train-by-plan.ts";

/**
 * The mean over batches, all of `batchSize`, of which several processes each give a part; normalizations use what they remember.
 * `teacher`: as in training.
 */
export async function meanLoss(
  model: Graph,
  { teacher, ...options }: LossOptions,
  { batches, batchSize }: { readonly batches: AsyncIterable<Batch>; readonly batchSize: number },
  context: Context,
): Promise<number> {
  const sized = setBatchSize(model, batchSize);
  const build = buildOn(sized);
  const sizedTeacher = teacher && { teacher: setBatchSize(teacher, batchSize) };
  const loss = addLoss(build, sized, { ...options, ...sizedTeacher });
  return withProgram(removeDeadNodes(build.graph([loss])), context, async (program) => {
    const counting = startCounting(context.communicator);
    for await (const inputs of inputsOfBatches(batches)) {
      const found = (await program.run(inputs, signalOf(context))).get(loss);
      assert(found, "the loss is missing");
      counting.add({ sums: [[numbersOf(found)[0], 1]], lists: [] });
    }
    const counted = await counting.end();
    assert(counted, "the mean loss of no batches");
    const [sum, count] = Array.from(counted.sums[0]);
    return sum / count;
  });
}
