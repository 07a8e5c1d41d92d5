// The model whose weights are stored integers, with scales that may train, and back.
import { assert } from "../../ir/errors.ts";
import type { Graph, Node } from "../../ir/graph.ts";
import { narrowestType } from "../../ir/held-narrow.ts";
import { roundHalfToEven } from "../../ir/round.ts";
import { numbersOf, sizeOf, type Tensor, tensor, tensorOf } from "../../ir/tensor.ts";
import { isStored, storedTensor } from "../../ir/tensor-source.ts";
import { uniqueNamesIn } from "../../ir/unique-names.ts";
import { forEachRun, granularityAttributes, scaleLayout } from "../../ops/granularity.ts";
import { boundsIn, type Quantizer, quantizersOf } from "../../quantizers/quantizer.ts";
import { clampTo, constantOf, placeIntegers, placeScales, quotientOf, roundedLayers } from "../../rounding/grid.ts";

export interface StoredIntegers {
  readonly graph: Graph;
  /** By the output of the weight's quantizer: the constant that holds its integers, and that of its scales. */
  readonly weights: ReadonlyMap<string, { readonly codes: string; readonly scale: string }>;
}

/** DequantizeLinear in place of the quantizers of weights that `float` has in float. */
export function storeIntegers(graph: Graph, float: Graph): StoredIntegers {
  const unique = uniqueNamesIn(graph);
  const constants = new Map(graph.constants);
  const values = new Map(graph.values);
  const weights = new Map<string, { codes: string; scale: string }>();
  const replaced = new Map<string, Node>();
  const add = (hint: string, value: Tensor): string => {
    const name = unique(hint);
    constants.set(name, value);
    values.set(name, { dtype: value.dtype, shape: value.shape });
    return name;
  };
  for (const { quantizer } of roundedLayers(graph, float)) {
    const { node, output, scale } = quantizer;
    const { integers, zeroPoints } = codesOf(graph, quantizer);
    const codes = add(`${output}/codes`, integers);
    const inputs = [codes, scale, ...(zeroPoints ? [add(`${output}/zeros`, zeroPoints)] : [])];
    replaced.set(node.name, {
      ...node,
      op: "DequantizeLinear",
      inputs,
      attributes: granularityAttributes(quantizer.granularity),
    });
    weights.set(output, { codes, scale });
  }
  return { graph: { ...graph, nodes: besideReaders(graph.nodes, replaced), constants, values }, weights };
}

/**
 * The nodes with others in the place of those of these names, each right before what first reads it: gradients come in the reverse order,
 * so that a matrix's is summed to its scales' before that of the next matrix is made.
 */
function besideReaders(nodes: readonly Node[], replaced: ReadonlyMap<string, Node>): readonly Node[] {
  const waiting = new Map([...replaced.values()].map((node) => [node.outputs[0], node]));
  const take = (output: string): readonly Node[] => {
    const node = waiting.get(output);
    waiting.delete(output);
    return node ? [node] : [];
  };
  const placed = nodes.flatMap((node) => (replaced.has(node.name) ? [] : [...node.inputs.flatMap(take), node]));
  return [...placed, ...waiting.values()];
}

interface Codes {
  readonly integers: Tensor;
  readonly zeroPoints: Tensor | undefined;
}

function codesOf(graph: Graph, quantizer: Quantizer): Codes {
  const weight = constantOf(graph, quantizer.value);
  const zeroPoints = zeroPointsOf(graph, quantizer);
  const { low, high } = boundsIn(graph, quantizer);
  const dtype = narrowestType(low, high);
  const make = (): Tensor => tensor(dtype, weight.shape, integersOf(graph, quantizer, zeroPoints));
  // Of a large model, what holds the weight holds its integers too: they are made whenever they are read.
  const integers = isStored(weight) ? storedTensor(dtype, weight.shape, () => make().data) : make();
  return { integers, zeroPoints };
}

/** One for each scale; `undefined` where the quantizer has none. */
function zeroPointsOf(graph: Graph, quantizer: Quantizer): Tensor | undefined {
  if (quantizer.zeroPoint === "") return undefined;
  const all = numbersOf(constantOf(graph, quantizer.zeroPoint));
  const { shape } = constantOf(graph, quantizer.scale);
  const bounds = boundsIn(graph, quantizer);
  const points = Array.from({ length: sizeOf(shape) }, (_, i) =>
    clampTo(bounds, roundHalfToEven(all[all.length === 1 ? 0 : i])),
  );
  return tensorOf(narrowestType(bounds.low, bounds.high), shape, points);
}

/** The integers that the quantizer gives, with these zero points. */
function integersOf(graph: Graph, quantizer: Quantizer, zeroPoints: Tensor | undefined): Int8Array | Uint8Array {
  const [weight, scale] = [quantizer.value, quantizer.scale].map((name) => constantOf(graph, name));
  const [values, steps] = [weight, scale].map(numbersOf);
  const zeros = zeroPoints && numbersOf(zeroPoints);
  const bounds = boundsIn(graph, quantizer);
  const codes = bounds.low < 0 ? new Int8Array(values.length) : new Uint8Array(values.length);
  forEachRun(scaleLayout(weight.shape, quantizer.granularity, scale.shape), (start, end, at) => {
    for (let i = start; i < end; i++) {
      const quotient = quotientOf(weight.dtype, values[i], steps[at]);
      codes[i] = clampTo(bounds, roundHalfToEven(quotient) + (zeros?.[at] ?? 0));
    }
  });
  return codes;
}

/** The quantized graph with these scales, by the constants that hold them, and the integers that were stored. */
export function withScales(
  quantized: Graph,
  { graph, weights }: StoredIntegers,
  scales: ReadonlyMap<string, Tensor>,
): Graph {
  return [...weights].reduce((model, [output, { codes, scale }]) => {
    const values = scales.get(scale);
    assert(values, `scale "${scale}" did not train`);
    const current = (of: Graph): Quantizer => {
      const found = quantizersOf(of).find((other) => other.output === output);
      assert(found, `there is no quantizer of "${output}"`);
      return found;
    };
    const scaled = placeScales(model, current(model), Float64Array.from(numbersOf(values)));
    return placeIntegers(scaled, current(scaled), numbersOf(constantOf(graph, codes)));
  }, quantized);
}
