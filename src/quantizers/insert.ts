// Puts quantizers into a graph at the sites chosen, with the ranges that calibration found.

import type { DType } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { scalar, type Tensor } from "../ir/tensor.ts";
import { type MakeName, sharedNames, uniqueNamesIn } from "../ir/unique-names.ts";
import { granularityAttributes } from "../ops/granularity.ts";
import { inferTypes } from "../passes/infer-types.ts";
import type { Qparams } from "./qparams.ts";
import { type Bounds, boundsOf, boundsOfActivations } from "./quantizer.ts";
import type { Site, Sites } from "./sites.ts";

/** `qparams`: by site name. */
export function insertQuantizers(graph: Graph, sites: Sites, qparams: ReadonlyMap<string, Qparams>): Graph {
  const constants = new Map(graph.constants);
  const values = new Map(graph.values);
  const added = new Map<string, Node[]>();
  const renamed = new Map<string, string>();
  /** By reader, of its second input alone (a Gather's first): the same constant may be its bias too. */
  const weights = new Map<string, string>();
  // Quantizers share constants; an exported model may have an "x_scale" already.
  const nameOf = sharedNames(uniqueNamesIn(graph));
  const add = (hint: string, value: Tensor): string => {
    const name = nameOf(hint);
    constants.set(name, value);
    values.set(name, { dtype: value.dtype, shape: value.shape });
    return name;
  };
  const bounded = [
    ...sites.weights.map((site) => [site, boundsOf(site.bits, site.symmetric), true] as const),
    ...sites.activations.map((site) => [site, boundsOfActivations(site.bits, site.symmetric), false] as const),
  ];
  for (const [site, bounds, isWeight] of bounded) {
    const owner = site.sameAs === undefined ? site : sites.activations.find(({ value }) => value === site.sameAs);
    const siteQparams = owner && qparams.get(owner.name);
    assert(owner && siteQparams, `no qparams for site "${site.name}"`);
    const node = quantizerNode(graph, site, bounds, { ...siteQparams, owner: owner.name }, { add, nameOf });
    const list = added.get(site.value) ?? [];
    added.set(site.value, [...list, node]);
    const readers = site.readers === "all" ? ["*"] : site.readers;
    for (const reader of readers)
      if (isWeight) weights.set(reader, node.outputs[0]);
      else renamed.set(`${reader}\n${site.value}`, node.outputs[0]);
  }
  const rename = (node: Node): Node => ({
    ...node,
    inputs: node.inputs.map((input, i) => {
      const weight = i === (node.op === "Gather" ? 0 : 1) ? weights.get(node.name) : undefined;
      return weight ?? renamed.get(`${node.name}\n${input}`) ?? renamed.get(`*\n${input}`) ?? input;
    }),
  });
  const first = [...added]
    .filter(([value]) => graph.constants.has(value) || graph.inputs.includes(value))
    .flatMap(([, nodes]) => nodes);
  const nodes = graph.nodes.flatMap((node) => [
    rename(node),
    ...node.outputs.flatMap((output) => added.get(output) ?? []),
  ]);
  return inferTypes({ ...graph, nodes: [...first, ...nodes], constants, values });
}

interface Additions {
  /** Adds a constant and returns its name. */
  readonly add: (hint: string, value: Tensor) => string;
  readonly nameOf: MakeName;
}

/** Qparams, and the name of the site that they are of. */
interface OwnedQparams extends Qparams {
  readonly owner: string;
}

function quantizerNode(
  graph: Graph,
  site: Site,
  { low, high }: Bounds,
  { owner, ...qparams }: OwnedQparams,
  { add, nameOf }: Additions,
): Node {
  const dtype: DType = graph.values.get(site.value)?.dtype ?? "float32";
  const node = {
    name: nameOf(`${site.name}_quantizer`),
    outputs: [nameOf(`${site.name}_quantized`)],
    attributes: { bits: site.bits, ...granularityAttributes(site.granularity) },
  };
  const { levels } = qparams;
  if (levels)
    return {
      ...node,
      op: "LevelQuantize",
      inputs: [site.value, add(`${owner}_scale`, qparams.scale), add(`${owner}_levels`, levels)],
    };
  const zeroPoint = site.symmetric ? "" : add(`${owner}_zero_point`, qparams.zeroPoint);
  return {
    ...node,
    op: "FakeQuantize",
    inputs: [
      site.value,
      add(`${owner}_scale`, qparams.scale),
      zeroPoint,
      add(`${dtype}:${low}`, scalar(dtype, low)),
      add(`${dtype}:${high}`, scalar(dtype, high)),
    ],
  };
}
