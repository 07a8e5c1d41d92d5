// Where quantizers go: a site is a value, which of its readers get the quantized one, and how it is quantized.
import { assert, FrostbitError } from "../ir/errors.ts";
import { consumers, type Graph, type Node } from "../ir/graph.ts";
import type { Granularity } from "../ops/granularity.ts";
import { lookupTables, recurrentWeights } from "./find-tables.ts";
import { foldedNormalization, type LinearLayer, linearLayers } from "./linear-layers.ts";
import { hasLookups, lookupsOf } from "./lookups.ts";
import {
  bitsOfLayer,
  isAsymmetric,
  type LayerBits,
  type LevelGrid,
  matchesPattern,
  placementOf,
  type QuantizeOptions,
} from "./quantize-options.ts";
import { isQuantizer } from "./quantizer.ts";
import { runtimeValues } from "./runtime-values.ts";

export interface Site {
  /** Prefix of the names of this quantizer's qparams: `<name>_scale`, `<name>_zero_point`. */
  readonly name: string;
  readonly value: string;
  /** Names of the nodes that read the quantized value; "all" readers, outputs of the graph left out. */
  readonly readers: readonly string[] | "all";
  readonly bits: number;
  readonly symmetric: boolean;
  readonly granularity: Granularity;
  /** Of a weight: what it is rounded to. Absent: integers. */
  readonly grid?: LevelGrid;
  /** A value of the same range whose qparams this site shares. */
  readonly sameAs?: string;
}

export interface Sites {
  readonly weights: readonly Site[];
  readonly activations: readonly Site[];
}

/** `apart`: names of nodes that join what no quantizer should, unless a layer reads it. */
export function findSites(graph: Graph, given: QuantizeOptions, apart: ReadonlySet<string> = new Set<string>()): Sites {
  const layers = linearLayers(graph);
  checkPatterns(
    [...layers.map(({ name }) => name), ...lookupTables(graph).keys(), ...recurrentWeights(graph).keys()],
    given,
  );
  const quantized = layers.filter((layer) => bitsOfLayer(given, layer.name) !== undefined);
  const options = withFirstLast(graph, quantized, given);
  const activations =
    placementOf(options) === "inputs" ? inputSites(quantized, options) : runtimeSites(graph, quantized, options, apart);
  return { weights: weightSites(graph, quantized, options), activations };
}

/** One per weight and bits: what else reads the weight reads it in float, but for Gathers of its rows where there is one. */
function weightSites(graph: Graph, layers: readonly LinearLayer[], options: QuantizeOptions): readonly Site[] {
  const groups = new Map<string, LinearLayer[]>();
  for (const layer of layers) {
    const key = `${bitsOf(layer, options).weights}:${layer.weight}`;
    groups.set(key, [...(groups.get(key) ?? []), layer]);
  }
  const readers = consumers(graph);
  const layersOf = new Map<string, number>();
  for (const { weight } of layers) layersOf.set(weight, (layersOf.get(weight) ?? 0) + 1);
  return [...groups.values()].map((sharing) => {
    const isAlone = layersOf.get(sharing[0].weight) === sharing.length;
    const lookups = isAlone && hasLookups(options) ? rowLookups(graph, readers, sharing) : [];
    return weightSite(graph, sharing, lookups, options);
  });
}

/** A normalization behind a layer folds into the scales of its rows, which are then not those of the table. */
function rowLookups(
  graph: Graph,
  readers: ReturnType<typeof consumers>,
  sharing: readonly LinearLayer[],
): readonly Node[] {
  const isFolded = sharing.some((layer) => foldedNormalization(graph, readers, layer));
  return isFolded ? [] : lookupsOf(graph, readers, sharing[0]);
}

/** The bits of the first and the last layers as exceptions, before those that are given. */
export function withFirstLast(graph: Graph, layers: readonly LinearLayer[], options: QuantizeOptions): QuantizeOptions {
  const { firstLast } = options;
  if (firstLast === undefined) return options;
  const ends = endLayers(graph, layers).map(({ name }) => {
    const given = options.layers[name];
    const isPart = typeof given === "object";
    return [name, isPart ? { weights: firstLast, activations: firstLast, ...given } : (given ?? firstLast)] as const;
  });
  return { ...options, layers: { ...Object.fromEntries(ends), ...options.layers, ...Object.fromEntries(ends) } };
}

/** Those of the layers that depend on none of the others, or that none of the others depends on. */
export function endLayers(graph: Graph, layers: readonly LinearLayer[]): readonly LinearLayer[] {
  const nodes = new Set(layers.map(({ node }) => node.name));
  const behind = dependentsOf(
    graph.nodes,
    nodes,
    (node) => node.inputs,
    (node) => node.outputs,
  );
  const before = dependentsOf(
    graph.nodes.toReversed(),
    nodes,
    (node) => node.outputs,
    (node) => node.inputs,
  );
  return layers.filter(({ node }) => !behind.has(node.name) || !before.has(node.name));
}

/** The nodes that read what a node of `sources` makes, or others make of it; `nodes` in the order of their values' way. */
function dependentsOf(
  nodes: readonly Node[],
  sources: ReadonlySet<string>,
  reads: (node: Node) => readonly string[],
  makes: (node: Node) => readonly string[],
): ReadonlySet<string> {
  const reached = new Set<string>();
  const dependents = new Set<string>();
  for (const node of nodes) {
    const depends = reads(node).some((value) => value !== "" && reached.has(value));
    if (depends) dependents.add(node.name);
    if (depends || sources.has(node.name)) for (const value of makes(node)) reached.add(value);
  }
  return dependents;
}

function checkPatterns(names: readonly string[], options: QuantizeOptions): void {
  for (const pattern of Object.keys(options.layers)) {
    if (names.some((name) => matchesPattern(pattern, name))) continue;
    throw new FrostbitError(
      "BAD_OPTION",
      `layers: "${pattern}" matches no layer. The layers are ${names.slice(0, 30).join(", ")}${names.length > 30 ? ", …" : ""}.`,
    );
  }
}

const bitsOf = (layer: LinearLayer, options: QuantizeOptions): LayerBits => bitsOfLayer(options, layer.name) ?? options;

/** Inputs that make no more than one group have one scale per row. */
function granularityOfWeight(
  graph: Graph,
  { weight, rowAxis, inputAxis }: LinearLayer,
  { groupSize }: QuantizeOptions,
): Granularity {
  const inputs = Number(graph.values.get(weight)?.shape[inputAxis]);
  return groupSize === "whole" || inputs <= groupSize ? { axis: rowAxis } : { axis: inputAxis, groupSize };
}

function weightSite(
  graph: Graph,
  sharing: readonly LinearLayer[],
  lookups: readonly Node[],
  options: QuantizeOptions,
): Site {
  const [first] = sharing;
  const { weights: bits } = bitsOf(first, options);
  return {
    name: `${first.name}.weight`,
    value: first.weight,
    readers: [...sharing.map(({ node }) => node), ...lookups].map(({ name }) => name),
    bits,
    symmetric: !isAsymmetric(options, bits),
    granularity: granularityOfWeight(graph, first, options),
    ...(options.weightGrid !== "uniform" && { grid: options.weightGrid }),
  };
}

/** Placement `inputs`: each linear layer has its own quantizer on its input, as the papers do. */
const inputSites = (layers: readonly LinearLayer[], options: QuantizeOptions): Site[] =>
  layers.flatMap((layer) => {
    const { activations: bits } = bitsOf(layer, options);
    if (bits === "float") return [];
    const { symmetricActivations: symmetric } = options;
    const name = `${layer.name}.input`;
    return [{ name, value: layer.input, readers: [layer.node.name], bits, symmetric, granularity: "tensor" }];
  });

/** Placement `runtime`: one quantizer per value that an integer kernel of ONNX Runtime reads or writes; layers may compute with floats between them. */
const runtimeSites = (
  graph: Graph,
  layers: readonly LinearLayer[],
  options: QuantizeOptions,
  apart: ReadonlySet<string>,
): Site[] => {
  const computed = layers.filter((layer) => bitsOf(layer, options).activations !== "float");
  const values = runtimeValues(
    graph,
    computed,
    (layer) => integerBits(layer ? bitsOf(layer, options) : options),
    apart,
  );
  return values.map((value) => ({
    ...value,
    name: value.value,
    symmetric: options.symmetricActivations,
    granularity: "tensor",
  }));
};

/** Options are refused that have this placement and activations in float. */
function integerBits({ activations }: Pick<LayerBits, "activations">): number {
  assert(activations !== "float", "placement runtime with activations in float");
  return activations;
}

/** The sites whose values no quantizer of the graph quantizes yet. */
export function withoutQuantized(graph: Graph, sites: Sites): Sites {
  const quantized = new Set(graph.nodes.filter(isQuantizer).flatMap((node) => [node.inputs[0], node.outputs[0]]));
  const isOpen = ({ value }: Site): boolean => !quantized.has(value);
  const activations = sites.activations.filter(isOpen);
  const named = new Set(activations.map(({ value }) => value));
  const standsAlone = ({ sameAs, ...site }: Site): Site =>
    sameAs !== undefined && named.has(sameAs) ? { ...site, sameAs } : site;
  return { weights: sites.weights.filter(isOpen), activations: activations.map(standsAlone) };
}
