// What became of a unit: the integers and grids of its weights, the steps of its activations, its biases.

import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { type Quantizer, quantizersOf } from "../quantizers/quantizer.ts";
import { placeIntegers, placeLevels, placeScales, placeZeroPoints } from "../rounding/grid.ts";

export interface Outcome {
  /** By the output of the weight's quantizer. */
  readonly integers: ReadonlyMap<string, Tensor>;
  /** By the output of the weight's quantizer, where they trained. */
  readonly scales: ReadonlyMap<string, Tensor>;
  readonly zeroPoints: ReadonlyMap<string, Tensor>;
  readonly levels: ReadonlyMap<string, Tensor>;
  /** Steps of activations and biases, by the constant that holds them. */
  readonly constants: ReadonlyMap<string, Tensor>;
}

export const nothingChanged: Outcome = {
  integers: new Map(),
  scales: new Map(),
  zeroPoints: new Map(),
  levels: new Map(),
  constants: new Map(),
};

/** The model with a unit as it came out. */
export function applyOutcome(graph: Graph, { integers, scales, zeroPoints, levels, constants }: Outcome): Graph {
  const given: Graph = { ...graph, constants: new Map([...graph.constants, ...constants]) };
  const current = (model: Graph, output: string): Quantizer => {
    const quantizer = quantizersOf(model).find((other) => other.output === output);
    assert(quantizer, `there is no quantizer of "${output}"`);
    return quantizer;
  };
  const numbers = (values: Tensor): Float64Array => Float64Array.from(numbersOf(values));
  const scaled = [...scales].reduce(
    (model, [output, values]) => placeScales(model, current(model, output), numbers(values)),
    given,
  );
  const shifted = [...zeroPoints].reduce(
    (model, [output, values]) => placeZeroPoints(model, current(model, output), numbers(values)),
    scaled,
  );
  const leveled = [...levels].reduce(
    (model, [output, values]) => placeLevels(model, current(model, output), numbers(values)),
    shifted,
  );
  return [...integers].reduce(
    (model, [output, values]) => placeIntegers(model, current(model, output), numbersOf(values)),
    leveled,
  );
}

const prefixes: Readonly<Record<keyof Outcome, string>> = {
  integers: "integers:",
  scales: "scale:",
  zeroPoints: "zero-point:",
  levels: "levels:",
  constants: "constant:",
};
const parts = Object.keys(prefixes) as readonly (keyof Outcome)[];

/** As the tensors of a file. */
export const tensorsOf = (outcome: Outcome): ReadonlyMap<string, Tensor> =>
  new Map(parts.flatMap((part) => [...outcome[part]].map(([name, value]) => [prefixes[part] + name, value] as const)));

export function outcomeOf(tensors: ReadonlyMap<string, Tensor>): Outcome {
  const under = (part: keyof Outcome): ReadonlyMap<string, Tensor> =>
    new Map(
      [...tensors].flatMap(([name, value]) =>
        name.startsWith(prefixes[part]) ? [[name.slice(prefixes[part].length), value] as const] : [],
      ),
    );
  return {
    integers: under("integers"),
    scales: under("scales"),
    zeroPoints: under("zeroPoints"),
    levels: under("levels"),
    constants: under("constants"),
  };
}
