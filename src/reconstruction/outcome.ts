// What became of a unit: the integers of its weights and the steps of its activations.

import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { quantizersOf } from "../quantizers/quantizer.ts";
import { placeIntegers } from "../rounding/grid.ts";

export interface Outcome {
  /** By the output of the weight's quantizer. */
  readonly integers: ReadonlyMap<string, Tensor>;
  /** By the constant that holds the step. */
  readonly steps: ReadonlyMap<string, Tensor>;
}

export const nothingChanged: Outcome = { integers: new Map(), steps: new Map() };

/** The model with a unit as it came out. */
export function applyOutcome(graph: Graph, { integers, steps }: Outcome): Graph {
  const stepped: Graph = { ...graph, constants: new Map([...graph.constants, ...steps]) };
  return [...integers].reduce((model, [output, values]) => {
    const quantizer = quantizersOf(model).find((other) => other.output === output);
    assert(quantizer, `there is no quantizer of "${output}"`);
    return placeIntegers(model, quantizer, Float64Array.from(numbersOf(values)));
  }, stepped);
}

const [integersPrefix, stepsPrefix] = ["integers:", "step:"];

/** As the tensors of a file. */
export const tensorsOf = ({ integers, steps }: Outcome): ReadonlyMap<string, Tensor> =>
  new Map([
    ...[...integers].map(([name, value]) => [integersPrefix + name, value] as const),
    ...[...steps].map(([name, value]) => [stepsPrefix + name, value] as const),
  ]);

export function outcomeOf(tensors: ReadonlyMap<string, Tensor>): Outcome {
  const under = (prefix: string): ReadonlyMap<string, Tensor> =>
    new Map(
      [...tensors].flatMap(([name, value]) =>
        name.startsWith(prefix) ? [[name.slice(prefix.length), value] as const] : [],
      ),
    );
  return { integers: under(integersPrefix), steps: under(stepsPrefix) };
}
