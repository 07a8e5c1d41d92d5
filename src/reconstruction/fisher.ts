// How much each element of a unit's output counts: by the gradient of what quantizing it does to the class scores (BRECQ, arXiv:2102.05426).
import { appendGradients } from "../autodiff/gradient.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";
import { cutUnit } from "../units/cut-unit.ts";
import type { UnitData } from "../units/optimize-units.ts";
import { scoreDivergence, scoresInput } from "./loss.ts";
import { addRest, besidesInput, type Predictions, type Rest } from "./rest.ts";

/** By target, the weights of its elements for samples. */
export type FisherWeights = (samples: ArrayLike<number>) => ReadonlyMap<string, Tensor>;

export interface FisherJob {
  readonly data: UnitData;
  readonly predictions: Predictions;
  /** How many of the samples, from the first on; a whole number of batches or more. */
  readonly samples: number;
  readonly batch: number;
  /** Added to |g|; 0: the weights are |g| over its mean. */
  readonly damping: number;
}

/** |g| + damping of g = ∂ KL / ∂ output, the network quantized up to the unit, the unit as it was before it trains. */
export async function fisherWeights(job: FisherJob, context: Context): Promise<FisherWeights> {
  const { data, predictions, samples, batch, damping } = job;
  const { unit, quantized } = data;
  const sized = cutUnit(setBatchSize(quantized, batch), unit.inputs, unit.outputs);
  const { graph, gradients } = gradientGraph(sized, unit.targets, predictions.rest);
  const found = new Map(unit.targets.map((target) => [target, [] as Float32Array[]]));
  await withProgram(sized, context, (forward) =>
    withProgram(graph, context, async (backward) => {
      for (let start = 0; start < samples; start += batch) {
        const count = Math.min(batch, samples - start);
        const chosen = Array.from({ length: batch }, (_, i) => start + Math.min(i, count - 1));
        const outputs = await forward.run(await data.inputs("quantized", chosen), signalOf(context));
        const besides = await data.values("quantized", predictions.rest.besides, chosen);
        const fed = new Map([
          ...outputs,
          ...[...besides].map(([name, value]) => [besidesInput(name), value] as const),
          [scoresInput, predictions.scores(chosen)] as const,
        ]);
        const inputs = new Map([...fed].filter(([name]) => graph.inputs.includes(name)));
        const gave = await backward.run(inputs, signalOf(context));
        for (const target of unit.targets) addSamples(found.get(target), gave.get(gradients.get(target) ?? ""), count);
      }
    }),
  );
  const mean = damping === 0 ? meanOf([...found.values()].flat()) : 1;
  return (chosen) =>
    new Map(
      unit.targets.map((target) => {
        const { dtype = "float32", shape = [] } = sized.values.get(target) ?? {};
        const values = Array.from(chosen, (at) => Array.from(found.get(target)?.[at] ?? [])).flat();
        const sizes = [chosen.length, ...shape.slice(1).map(Number)];
        return [
          target,
          tensorOf(
            dtype,
            sizes,
            values.map((value) => value / mean + damping),
          ),
        ];
      }),
    );
}

/** |g| of each sample. */
function addSamples(into: Float32Array[] | undefined, gradient: Tensor | undefined, count: number): void {
  assert(into && gradient, "a unit's target has no gradient");
  const values = Float32Array.from(numbersOf(gradient), Math.abs);
  const size = values.length / gradient.shape[0];
  for (let i = 0; i < count; i++) into.push(values.slice(i * size, (i + 1) * size));
}

function meanOf(samples: readonly Float32Array[]): number {
  const sums = samples.map((values) => values.reduce((sum, value) => sum + value, 0));
  const count = samples.reduce((sum, { length }) => sum + length, 0);
  return sums.reduce((sum, value) => sum + value, 0) / count || 1;
}

/** From what the unit gives to the gradients of the divergence. */
function gradientGraph(
  unit: Graph,
  targets: readonly string[],
  rest: Rest,
): { readonly graph: Graph; readonly gradients: ReadonlyMap<string, string> } {
  const build = buildOn();
  const given = unit.outputs.map((output) => {
    const { dtype, shape } = unit.values.get(output) ?? { dtype: "float32", shape: [] };
    return [output, build.input(output, { dtype, shape })] as const;
  });
  const scores = addRest(build, rest, new Map(given));
  const loss = scoreDivergence(build, scores, rest, 1);
  const wanted = new Map(targets.map((target) => [target, "all"] as const));
  const gradients = appendGradients(build, build.graph([loss]).nodes, loss, wanted);
  return { graph: build.graph([...gradients.values()]), gradients };
}
