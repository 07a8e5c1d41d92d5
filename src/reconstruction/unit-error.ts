// How far a unit's outputs are from the float unit's, on samples that nothing was fitted to.

import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf } from "../ir/tensor.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";
import { cutUnit } from "../units/cut-unit.ts";
import type { UnitData } from "../units/optimize-units.ts";

/** Noise to signal of the unit's targets, of a quantized model on the quantized stream; `samples`: whole batches of them. */
export function unitError(
  model: Graph,
  data: UnitData,
  samples: readonly number[],
  batch: number,
  context: Context,
): Promise<number> {
  const { unit } = data;
  return withProgram(cutUnit(setBatchSize(model, batch), unit.inputs, unit.outputs), context, async (program) => {
    let [noise, signal] = [0, 0];
    for (let start = 0; start < samples.length; start += batch) {
      const chosen = samples.slice(start, start + batch);
      const outputs = await program.run(await data.inputs("quantized", chosen), signalOf(context));
      const targets = await data.outputs(chosen);
      for (const name of unit.targets) {
        const [output, target] = [outputs.get(name), targets.get(name)];
        assert(output && target, `unit "${unit.name}" gives no "${name}"`);
        const [given, wanted] = [numbersOf(output), numbersOf(target)];
        for (let i = 0; i < wanted.length; i++) {
          noise += (given[i] - wanted[i]) ** 2;
          signal += wanted[i] ** 2;
        }
      }
    }
    return noise / Math.max(signal, Number.MIN_VALUE);
  });
}
