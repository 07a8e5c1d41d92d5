// What quantizing a weight to a width loses: six measures of it, none of which needs labels.
import { partOf, type Share } from "../../data/batches.ts";
import { randomBits } from "../../data/random.ts";
import { sumOfParts } from "../../distributed/sum-of-parts.ts";
import { takeTurns } from "../../distributed/take-turns.ts";
import { assert } from "../../ir/errors.ts";
import { numbersOf, type Tensor, tensorOf } from "../../ir/tensor.ts";
import type { Context } from "../../run/context.ts";
import type { Choice } from "./choices.ts";
import { withDistanceGradients, withLikelihoodGradients } from "./gradients.ts";
import type { Measured, Sensitivities } from "./measured.ts";
import { relativeOutputErrors } from "./output-errors.ts";
import { type Subject, type Weights, withDivergence } from "./replace-weights.ts";
import { forEachTail } from "./tails.ts";

type Measure = (measured: Measured, context: Context) => Promise<Sensitivities>;

/** Of the whole network, one weight after the other at each width: KL(float ‖ quantized). */
const divergence: Measure = async (measured, context) => {
  const { communicator } = context;
  const result = new Map(measured.choices.map((choice) => [choice, new Map<number, number>()]));
  const total = measured.choices.reduce((sum, { rounded }) => sum + rounded.size, 0);
  let done = 0;
  await forEachTail(measured, context, async (choices, tail) => {
    const replaced = choices.flatMap((choice) =>
      [...choice.rounded].map(([width, value]) => ({ choice, width, value })),
    );
    const losses = await withDivergence(tail, context, (measure) =>
      takeTurns(
        {
          count: replaced.length,
          length: 1,
          compute: async (i) => {
            const { choice, value } = replaced[i];
            const loss = await measure(new Map([[choice.weight, value]]));
            context.onProgress?.({ phase: "measure widths", done: done + i + 1, total });
            return [loss];
          },
        },
        communicator,
      ),
    );
    for (const [i, { choice, width }] of replaced.entries()) known(result, choice).set(width, losses[i][0]);
    done += replaced.length;
  });
  return measured.choices.map((choice) => known(result, choice));
};

/** ½ Σ F (ŵ − w)², F the mean square of the log-likelihood's gradient: its diagonal Fisher information. */
const fisher: Measure = async ({ choices, singles: read, ...subject }, context) => {
  const singles = await read();
  return withLikelihoodGradients(subject, context, async (gradients) => {
    const zero = (): readonly Float64Array[] => choices.map(({ count }) => new Float64Array(count));
    const ofPart = async (part: Share): Promise<readonly Float64Array[] | undefined> => {
      const [first, end] = partOf(singles.length, part);
      const squares = zero();
      for (let index = first; index < end; index++) {
        const found = await gradients(singles[index], index);
        choices.forEach(({ weight }, c) => {
          const values = known(found, weight);
          for (let i = 0; i < squares[c].length; i++) squares[c][i] += values[i] ** 2 / singles.length;
        });
        context.onProgress?.({ phase: "measure widths", done: index + 1, total: singles.length });
      }
      return first === end ? undefined : squares;
    };
    const sums = await sumOfParts({ ofPart, zero }, context.communicator);
    const information = new Map(choices.map(({ weight }, c) => [weight, sums[c]]));
    return byWidth(choices, subject, (weight, i, moved) => (known(information, weight)[i] * moved ** 2) / 2);
  });
};

/** Σ |g (ŵ − w)|, g the distance's gradient at the point where every weight is at this width (AutoRound's AutoScheme). */
const taylor: Measure = ({ choices, batches, ...rest }, context) => {
  const subject = { ...rest, batches };
  return withDistanceGradients(subject, context, async (gradients) => {
    const widths = [...new Set(choices.flatMap(({ rounded }) => [...rounded.keys()]))];
    const lossesAt = async (width: number): Promise<number[]> => {
      const moved = new Map(choices.map(({ weight, rounded }) => [weight, known(rounded, width)]));
      const sums = new Map(choices.map(({ weight, count }) => [weight, new Float64Array(count)]));
      for (const inputs of batches)
        for (const [weight, values] of await gradients(inputs, moved)) add(known(sums, weight), values, 1);
      const losses = byWidth(
        choices,
        subject,
        (weight, i, change) => Math.abs((known(sums, weight)[i] / batches.length) * change),
        [width],
      );
      return losses.map((loss) => known(loss, width));
    };
    const compute = async (i: number): Promise<number[]> => {
      const losses = await lossesAt(widths[i]);
      context.onProgress?.({ phase: "measure widths", done: i + 1, total: widths.length });
      return losses;
    };
    const found = await takeTurns({ count: widths.length, length: choices.length, compute }, context.communicator);
    return choices.map((_, c) => new Map(widths.map((width, i) => [width, found[i][c]])));
  });
};

const probes = 8;
/** Of a weight's root mean square: far above float32's resolution, and small enough for the loss to be quadratic. */
const probeSize = 0.01;

/**
 * (tr H / N) ‖ŵ − w‖² (HAWQ-V2), H the Hessian of the distance, its trace by Hutchinson's probes of ±1: H v by central
 * differences of the gradient.
 */
const hessian: Measure = ({ choices, batches, ...rest }, context) => {
  const subject = { ...rest, batches };
  return withDistanceGradients(subject, context, async (gradients) => {
    const compute = async (probe: number): Promise<number[]> => {
      const inputs = batches[probe % batches.length];
      const steps = new Map(
        choices.map(({ weight }, at) => [weight, probeOf(subject, weight, [context.seed, probe, at])]),
      );
      const [above, below] = [
        await gradients(inputs, movedBy(subject, steps, 1)),
        await gradients(inputs, movedBy(subject, steps, -1)),
      ];
      context.onProgress?.({ phase: "measure widths", done: probe + 1, total: probes });
      return choices.map(({ weight }) => {
        const [step, plus, minus] = [known(steps, weight), known(above, weight), known(below, weight)];
        const size = Math.abs(step[0]);
        let trace = 0;
        for (let i = 0; i < step.length; i++) trace += (step[i] * (plus[i] - minus[i])) / (2 * size * size);
        return trace / probes;
      });
    };
    const found = await takeTurns({ count: probes, length: choices.length, compute }, context.communicator);
    const traces = new Map(
      choices.map(({ weight }, c) => [weight, found.reduce((sum, ofProbe) => sum + ofProbe[c], 0)]),
    );
    const counts = new Map(choices.map(({ weight, count }) => [weight, count]));
    return byWidth(choices, subject, (weight, _, moved) => {
      const curvature = Math.max(0, known(traces, weight)) / known(counts, weight);
      return curvature * moved ** 2;
    });
  });
};

/** Between 0 and the weight. */
const pathPoints = [0.125, 0.375, 0.625, 0.875];

/**
 * I ‖ŵ − w‖² / ‖w‖², I = Σ |w ∫ ∂L/∂w(αw) dα| with this weight alone on the way from 0 to itself: importance by integrated
 * gradients.
 */
const integrated: Measure = ({ choices, batches, ...rest }, context) => {
  const subject = { ...rest, batches };
  return withDistanceGradients(subject, context, async (gradients) => {
    const compute = async (c: number): Promise<readonly [number]> => {
      const { weight, count } = choices[c];
      const own = weightOf(subject, weight);
      const values = numbersOf(own);
      const sums = new Float64Array(count);
      for (const point of pathPoints) {
        const moved = tensorOf(
          own.dtype,
          own.shape,
          Float64Array.from(values, (w) => w * point),
        );
        const found = await gradients(batches[0], new Map([[weight, moved]]));
        add(sums, known(found, weight), 1 / pathPoints.length);
      }
      const energy = energyOf(values);
      const importance = sums.reduce((sum, slope, i) => sum + Math.abs(values[i] * slope), 0);
      context.onProgress?.({ phase: "measure widths", done: c + 1, total: choices.length });
      return [energy === 0 ? 0 : importance / energy];
    };
    const found = await takeTurns({ count: choices.length, length: 1, compute }, context.communicator);
    const importances = new Map(choices.map(({ weight }, c) => [weight, found[c][0]]));
    return byWidth(choices, subject, (weight, _, moved) => known(importances, weight) * moved ** 2);
  });
};

export const sensitivities = {
  divergence,
  fisher,
  taylor,
  hessian,
  output: relativeOutputErrors,
  integrated,
} as const satisfies Readonly<Record<string, Measure>>;

export type SensitivityName = keyof typeof sensitivities;

function known<Key, Value>(values: ReadonlyMap<Key, Value>, key: Key): Value {
  const value = values.get(key);
  assert(value !== undefined, `nothing is known of "${String(key)}"`);
  return value;
}

const weightOf = ({ graph }: Pick<Subject, "graph">, name: string): Tensor => known(graph.constants, name);

function energyOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] ** 2;
  return sum;
}

function add(sums: Float64Array, values: ArrayLike<number>, factor: number): void {
  for (let i = 0; i < sums.length; i++) sums[i] += factor * values[i];
}

/** Sums a term over the elements of each weight; `moved` is ŵ − w. */
function byWidth(
  choices: readonly Choice[],
  subject: Pick<Subject, "graph">,
  term: (weight: string, index: number, moved: number) => number,
  widths?: readonly number[],
): Sensitivities {
  return choices.map(({ weight, rounded }) => {
    const own = numbersOf(weightOf(subject, weight));
    const wanted = [...rounded].filter(([width]) => widths?.includes(width) ?? true);
    return new Map(
      wanted.map(([width, value]) => {
        const values = numbersOf(value);
        let sum = 0;
        for (let i = 0; i < own.length; i++) sum += term(weight, i, values[i] - own[i]);
        return [width, sum] as const;
      }),
    );
  });
}

/** ± the same size in every element. */
function probeOf(subject: Pick<Subject, "graph">, weight: string, counters: readonly number[]): Float64Array {
  const values = numbersOf(weightOf(subject, weight));
  const size = probeSize * Math.sqrt(energyOf(values) / values.length) || probeSize;
  return Float64Array.from(values, (_, i) => (randomBits(...counters, i) % 2 === 0 ? size : -size));
}

function movedBy(subject: Pick<Subject, "graph">, steps: ReadonlyMap<string, Float64Array>, sign: number): Weights {
  return new Map(
    [...steps].map(([weight, step]) => {
      const own = weightOf(subject, weight);
      const values = numbersOf(own);
      return [
        weight,
        tensorOf(
          own.dtype,
          own.shape,
          Float64Array.from(values, (w, i) => w + sign * step[i]),
        ),
      ] as const;
    }),
  );
}
