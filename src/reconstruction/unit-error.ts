// How far a unit's outputs are from the float unit's, on samples that nothing was fitted to.

import type { Program } from "../engines/engine.ts";
import type { TypedArray } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf } from "../ir/tensor.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { type Context, signalOf } from "../run/context.ts";
import { arraysOf, compileOptions, trainingOptions, withProgram } from "../run/with-program.ts";
import { cutUnit } from "../units/cut-unit.ts";
import type { UnitData } from "../units/optimize-units.ts";

interface HeldOut {
  readonly data: UnitData;
  /** Whole batches of them. */
  readonly samples: readonly number[];
  readonly batch: number;
  /** Computed as training steps are, not in float32. */
  readonly isAsTrained: boolean;
  /** Whether it is the mean over positions, along the last axis, not that of all together. */
  readonly isRelative: boolean;
}

/** Noise to signal of the unit's targets, of a quantized model on the quantized stream. */
export function unitError(
  model: Graph,
  { data, samples, batch, isAsTrained, isRelative }: HeldOut,
  context: Context,
): Promise<number> {
  const { unit } = data;
  const cut = cutUnit(setBatchSize(model, batch), unit.inputs, unit.outputs);
  const measure = async (program: Program): Promise<number> => {
    let [sum, weight] = [0, 0];
    let spare: ReadonlyMap<string, TypedArray> = new Map();
    for (let start = 0; start < samples.length; start += batch) {
      const chosen = samples.slice(start, start + batch);
      const outputs = await program.run(await data.inputs("quantized", chosen), { ...signalOf(context), spare });
      spare = arraysOf(outputs);
      const targets = await data.outputs(chosen);
      for (const name of unit.targets) {
        const [output, target] = [outputs.get(name), targets.get(name)];
        assert(output && target, `unit "${unit.name}" gives no "${name}"`);
        const [given, wanted] = [numbersOf(output), numbersOf(target)];
        const width = isRelative ? (target.shape.at(-1) ?? 1) : wanted.length;
        for (let from = 0; from < wanted.length; from += width) {
          const { noise, signal } = powers(given, wanted, from, from + width);
          sum += isRelative ? noise / Math.max(signal, Number.MIN_VALUE) : noise;
          weight += isRelative ? 1 : signal;
        }
      }
    }
    return sum / Math.max(weight, Number.MIN_VALUE);
  };
  return withProgram(cut, context, measure, isAsTrained ? trainingOptions(context) : compileOptions(context));
}

function powers(given: ArrayLike<number>, wanted: ArrayLike<number>, start: number, end: number) {
  let [noise, signal] = [0, 0];
  for (let i = start; i < end; i++) {
    noise += (given[i] - wanted[i]) ** 2;
    signal += wanted[i] ** 2;
  }
  return { noise, signal };
}
