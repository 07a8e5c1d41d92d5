// What a quantizer is: a FakeQuantize or LevelQuantize node and the parameters it reads.
import { assert } from "../ir/errors.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { numbersOf } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { type Granularity, granularityOf } from "../ops/granularity.ts";

/** The lowest and the highest of a range. */
export interface Bounds {
  readonly low: number;
  readonly high: number;
}

/** Symmetric: the restricted signed range ±(2^(b-1) - 1). Asymmetric: 0 to 2^b - 1. */
export function boundsOf(bits: number, symmetric: boolean): Bounds {
  const high = symmetric ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
  return { low: symmetric ? -high : 0, high };
}

/** The whole signed range, −2^(b-1) to 2^(b-1) − 1. */
export const wideBoundsOf = (bits: number): Bounds => ({ low: -(2 ** (bits - 1)), high: 2 ** (bits - 1) - 1 });

/** Of activations: symmetric ones use the whole signed range, as runtimes clip them. */
export const boundsOfActivations = (bits: number, symmetric: boolean): Bounds =>
  symmetric ? wideBoundsOf(bits) : boundsOf(bits, false);

/** A quantizer's node read back: which value it quantizes and the names of its qparams. */
export interface Quantizer {
  readonly node: Node;
  readonly value: string;
  readonly output: string;
  readonly scale: string;
  /** "" for a symmetric quantizer. */
  readonly zeroPoint: string;
  /** Of a LevelQuantize: the levels that it rounds to, in units of the scale. "" where they are the integers between its bounds. */
  readonly levels: string;
  readonly bits: number;
  readonly granularity: Granularity;
}

export const isQuantizer = (node: Node | undefined): node is Node =>
  node?.op === "FakeQuantize" || node?.op === "LevelQuantize";

/** Of a node that `isQuantizer`. */
export function quantizerOf(node: Node): Quantizer {
  const [value, scale, third] = node.inputs;
  const hasLevels = node.op === "LevelQuantize";
  return {
    node,
    value,
    output: node.outputs[0],
    scale,
    zeroPoint: hasLevels ? "" : third,
    levels: hasLevels ? third : "",
    bits: numberAttribute(node, "bits", 8),
    granularity: granularityOf(node),
  };
}

export const quantizersOf = (graph: Graph): readonly Quantizer[] => graph.nodes.filter(isQuantizer).map(quantizerOf);

/** The lowest and the highest integer of a quantizer whose bounds are constants; of levels, their indices. */
export function boundsIn({ constants }: Graph, { node, levels }: Quantizer): Bounds {
  const numbers = (name: string): ArrayLike<number> => {
    const value = constants.get(name);
    assert(value, `"${name}" is not a constant`);
    return numbersOf(value);
  };
  if (levels !== "") return { low: 0, high: numbers(levels).length - 1 };
  return { low: numbers(node.inputs[3])[0], high: numbers(node.inputs[4])[0] };
}
