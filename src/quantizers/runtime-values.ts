// Placement `runtime`: which values have a quantizer so that ONNX Runtime computes with integers, and where floats are better.
import { isFloat } from "../ir/dtype.ts";
import { consumers, type Graph, type Node, producers } from "../ir/graph.ts";
import {
  canWriteIntegers,
  isFusedActivation,
  isIntegerKernel,
  keepsRange,
  movesIntegers,
  writesIntegers,
} from "./integer-kernels.ts";
import { foldedNormalization, type LinearLayer, onlyReader } from "./linear-layers.ts";

/** A value to quantize: all of its readers get the integers where a kernel writes them, else those that compute with them. */
export interface RuntimeValue {
  readonly value: string;
  readonly readers: readonly string[] | "all";
  readonly bits: number;
  /** A value of the same range whose qparams it shares. */
  readonly sameAs?: string;
}

/**
 * Every value that an integer kernel reads or writes. Convolutions write integers or are slow; products of matrices write what
 * their readers want. Between layers, kernels are integer ones where all that they read is had as integers and what they write is
 * wanted as integers: a float kernel between two quantizers would be slower than in float, and less exact. What only moves on its
 * way to an output stays float, like the output. `bitsOf`: of the activations of a layer, or of what no layer decides. `apart`: names
 * of nodes that join what no quantizer should.
 */
export function runtimeValues(
  graph: Graph,
  layers: readonly LinearLayer[],
  bitsOf: (layer: LinearLayer | undefined) => number,
  apart: ReadonlySet<string>,
): readonly RuntimeValue[] {
  const state = createState(graph, layers, apart);
  const { made, wanted, kernels } = findIntegers(state);
  const chosen = new Map<string, number>();
  const choose = (value: string, bits: number): void => {
    chosen.set(value, Math.max(chosen.get(value) ?? 0, bits));
  };
  for (const node of graph.nodes) {
    const layer = state.layerOf.get(node.name);
    const end = state.endOf(node);
    if (layer) choose(layer.input, bitsOf(layer));
    if (layer && (wanted.has(end) || (writesIntegers(layer) && !state.isCarriedOut(end)))) choose(end, bitsOf(layer));
    if (kernels.has(node.name)) for (const value of [...node.inputs, end]) choose(value, bitsOf(undefined));
    // Of a Split all parts are quantized or none is moved as integers.
    if (movesIntegers(node) && chosen.has(node.inputs[0]) && node.outputs.some((output) => wanted.has(output)))
      for (const output of node.outputs) if (made.has(output)) choose(output, chosen.get(node.inputs[0]) ?? 8);
  }
  const isInteger = (value: string): boolean => made.has(value) && chosen.has(value);
  const rangeSource = (value: string): string => {
    const node = state.producerOf.get(value);
    const from = node?.inputs[0] ?? "";
    const isSame = node && keepsRange(graph, node) && isInteger(from) && chosen.get(from) === chosen.get(value);
    return isSame ? rangeSource(from) : value;
  };
  const computesWith =
    (value: string) =>
    (node: Node): boolean =>
      kernels.has(node.name) || state.layerOf.get(node.name)?.input === value;
  return [...chosen]
    .filter(([value]) => state.readersOf(value).length > 0)
    .map(([value, bits]) => {
      const source = rangeSource(value);
      const readers = state.readersOf(value).filter(computesWith(value));
      return {
        value,
        readers: isInteger(value) ? "all" : [...new Set(readers.map(({ name }) => name))],
        bits,
        ...(source === value ? {} : { sameAs: source }),
      };
    });
}

interface State {
  readonly graph: Graph;
  readonly layerOf: ReadonlyMap<string, LinearLayer>;
  readonly producerOf: ReadonlyMap<string, Node>;
  readonly readersOf: (value: string) => readonly Node[];
  /** The value after the normalization and activation that are computed in the node's kernel. */
  readonly endOf: (node: Node) => string;
  /** Whether a value is only moved or joined on its way to an output. */
  readonly isCarriedOut: (value: string) => boolean;
  /** Whether a node between layers may compute with integers. */
  readonly isKernel: (node: Node) => boolean;
}

function createState(graph: Graph, layers: readonly LinearLayer[], apart: ReadonlySet<string>): State {
  const readers = consumers(graph);
  const readersOf = (value: string): readonly Node[] => readers.get(value) ?? [];
  const layerOf = new Map(layers.map((layer) => [layer.node.name, layer]));
  const endOfActivations = (value: string): string => {
    const next = onlyReader(graph, readers, value);
    return next && isFusedActivation(next) && next.inputs[0] === value ? endOfActivations(next.outputs[0]) : value;
  };
  const endOf = (node: Node): string => {
    const layer = layerOf.get(node.name);
    const normalization = layer && foldedNormalization(graph, readers, layer);
    return endOfActivations((normalization ?? node).outputs[0]);
  };
  const known = new Map<string, boolean>();
  const isCarriedOut = (value: string): boolean => {
    const result = known.get(value) ?? readersOf(value).every(carriesOut);
    known.set(value, result);
    return result;
  };
  const carriesOut = (node: Node): boolean =>
    node.op === "Shape" ||
    ((node.op === "Concat" || keepsRange(graph, node)) &&
      node.outputs.every((output) => output === "" || isCarriedOut(output)));
  const isKernel = (node: Node): boolean => isIntegerKernel(node) && !apart.has(node.name);
  return { graph, layerOf, producerOf: producers(graph), readersOf, endOf, isCarriedOut, isKernel };
}

interface Integers {
  /** Values that the node which makes them can write as integers. */
  readonly made: ReadonlySet<string>;
  /** Values that are read as integers. */
  readonly wanted: ReadonlySet<string>;
  /** Names of the nodes between layers that compute with integers. */
  readonly kernels: ReadonlySet<string>;
}

function findIntegers({ graph, layerOf, endOf, isKernel }: State): Integers {
  const made = new Set<string>();
  const read = new Set([...layerOf.values()].map(({ input }) => input));
  const isHad = (value: string): boolean => made.has(value) || (read.has(value) && !graph.constants.has(value));
  for (const node of graph.nodes) {
    const layer = layerOf.get(node.name);
    if (layer ? canWriteIntegers(layer) : isKernel(node) && node.inputs.every(isHad)) made.add(endOf(node));
    else if (movesIntegers(node) && made.has(node.inputs[0]))
      for (const output of node.outputs) if (isFloat(graph.values.get(output)?.dtype ?? "int64")) made.add(output);
  }
  const wanted = new Set(read);
  const kernels = new Set<string>();
  for (const node of graph.nodes.toReversed()) {
    if (layerOf.has(node.name)) continue;
    if (isKernel(node) && node.inputs.every(isHad) && wanted.has(endOf(node))) {
      kernels.add(node.name);
      for (const input of node.inputs) wanted.add(input);
    } else if (movesIntegers(node) && made.has(node.inputs[0]) && node.outputs.some((output) => wanted.has(output)))
      wanted.add(node.inputs[0]);
  }
  return { made, wanted, kernels };
}
