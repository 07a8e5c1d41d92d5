// A unit as it trains: its weights with offsets that are learned, and activations that are quantized at random.
import type { Builder } from "../ir/builder.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { sortNodes } from "../ir/sort-nodes.ts";
import { tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { type Quantizer, quantizersOf } from "../quantizers/quantizer.ts";
import { constantOf, gridOf, quotientsOf, roundedLayers } from "../rounding/grid.ts";
import { type RoundedWeights, softOffset, softWeightOf, startOf } from "../rounding/soft-rounding.ts";
import type { UnitData } from "../units/optimize-units.ts";
import { randomCounterInput } from "../units/random-counters.ts";

/** A weight whose rounding trains. */
export interface SoftRounding {
  readonly quantizer: Quantizer;
  readonly weights: RoundedWeights;
  /** The constant of a soft unit that holds the variable. */
  readonly variable: string;
}

/** Of the weights that the unit is the first to read; those that are quantized in `float` keep their integers. */
export function roundingsOf({ quantized, own }: UnitData, float: Graph): readonly SoftRounding[] {
  return roundedLayers(quantized, float)
    .filter(({ quantizer }) => own.has(quantizer.value) && own.has(quantizer.scale))
    .map(({ quantizer }) => {
      const grid = gridOf(quantized, quantizer);
      const quotients = quotientsOf(constantOf(quantized, quantizer.value), grid);
      return { quantizer, weights: { quotients, grid }, variable: `${quantizer.output}/rounding` };
    });
}

/** Ŵ = base + gain · h(V) in place of each weight's quantizer. */
export function softenWeights(unit: Graph, roundings: readonly SoftRounding[]): Graph {
  return replaceOutputs(
    unit,
    new Map(roundings.map((rounding) => [rounding.quantizer.output, (build) => addSoftWeight(build, rounding)])),
  );
}

function addSoftWeight(build: Builder, { quantizer, weights, variable }: SoftRounding): string {
  const { dtype, shape } = build.type(quantizer.value);
  const sizes = shape.map(Number);
  const given = (values: Float64Array, name: string): string =>
    build.constant(tensorOf(dtype, sizes, values), `${quantizer.output}/${name}`);
  const { base, gain } = softWeightOf(weights);
  const start = build.constant(tensorOf(dtype, sizes, startOf(weights)), variable);
  const { offset } = softOffset(build, start);
  return build.node("Add", [build.node("Mul", [offset, given(gain, "gain")]), given(base, "base")]);
}

/** Quantizers of activations in a unit. */
export const activationQuantizers = (unit: Graph): readonly Quantizer[] =>
  quantizersOf(unit).filter(({ value }) => !unit.constants.has(value));

/** QDrop (arXiv:2203.05740): each element of an activation passes its quantizer by with this probability. */
export function dropQuantization(unit: Graph, probability: number): Graph {
  return replaceOutputs(
    unit,
    new Map(
      activationQuantizers(unit).map(({ output, value }) => [
        output,
        (build) => {
          const counter = build.input(randomCounterInput(output), { dtype: "int64", shape: [] });
          return build.node("RandomChoice", [value, output, counter], { probability });
        },
      ]),
    ),
  );
}

/** What a value is replaced by, for all that read it; it may itself be computed from that value. */
type Replacement = (build: Builder) => string;

function replaceOutputs(graph: Graph, replacements: ReadonlyMap<string, Replacement>): Graph {
  const build = buildOn(graph);
  const before = new Set(graph.nodes.map(({ name }) => name));
  const named = new Map([...replacements].map(([value, make]) => [value, make(build)]));
  const renamed = (value: string): string => named.get(value) ?? value;
  const added = build.graph(graph.outputs);
  const reads = (node: Node): Node => (before.has(node.name) ? { ...node, inputs: node.inputs.map(renamed) } : node);
  const rewired = { ...added, nodes: added.nodes.map(reads) };
  return removeDeadNodes({ ...rewired, nodes: sortNodes(rewired) });
}

/** The share of offsets that are neither 0 nor 1 yet, to a hundredth. */
export function undecidedShare(offsets: readonly Float64Array[]): number {
  const all = offsets.reduce((sum, { length }) => sum + length, 0);
  const open = offsets.reduce((sum, each) => sum + each.filter((h) => h > 0.01 && h < 0.99).length, 0);
  return all === 0 ? 0 : open / all;
}
