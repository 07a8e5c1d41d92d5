// Makes integers of the trained weights: batch normalization folds into their scales and signs, biases as they are exported.
import { assert } from "../ir/errors.ts";
import { consumers, type Graph, type Node } from "../ir/graph.ts";
import { sortNodes } from "../ir/sort-nodes.ts";
import { tensorOf } from "../ir/tensor.ts";
import { newNamesIn } from "../ir/unique-names.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { isGrouped } from "../ops/granularity.ts";
import { inferTypes } from "../passes/infer-types.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { dropRepeatedClips } from "./drop-clips.ts";
import { floatBias, integerBias, rescaleForBias } from "./fold-bias.ts";
import { computesWithIntegers } from "./integer-kernels.ts";
import { foldedNormalization, type LinearLayer, linearLayers } from "./linear-layers.ts";
import { lookupNodes } from "./lookups.ts";
import { type Quantizer, quantizersOf } from "./quantizer.ts";
import { type Additions, integersOf, numbersOfConstant, type StoredWeight, storeWeight } from "./store-weight.ts";

/** Of layers with quantized inputs. float: a separate addition, exact. int32: inside the layer at scale input·weight, as integer kernels want. */
export type BiasForm = "float" | "int32";

export interface FoldedLayer {
  readonly name: string;
  readonly bits: number;
  /** The constant that holds the integers, in 8 bits. */
  readonly integers: string;
  /** The constant that holds their zero points, in the same type; "" where they are 0. */
  readonly zeroPoint: string;
  /** Whether the integers are indices of levels. */
  readonly hasLevels: boolean;
  /** The layer's node in the folded graph. */
  readonly node: string;
  /** What the layer gives, bias and normalization included. */
  readonly output: string;
}

export interface Folded {
  readonly graph: Graph;
  readonly layers: readonly FoldedLayer[];
  readonly biases: BiasForm;
}

/** Per-channel factor and offset: y = factor · (W x) + offset. */
interface Affine {
  readonly factor: readonly number[];
  readonly offset: readonly number[];
  /** The value that the layer, its bias and its normalization give together. */
  readonly output: string;
  /** Nodes that the folded layer replaces. */
  readonly replaced: readonly Node[];
  readonly hasBias: boolean;
}

export function foldQuantizers(graph: Graph, biases: BiasForm): Folded {
  const readers = consumers(graph);
  const weightQuantizers = new Map(quantizersOf(graph).map((quantizer) => [quantizer.output, quantizer]));
  const constants = new Map(graph.constants);
  const replacement = new Map<string, readonly Node[]>();
  const layers: FoldedLayer[] = [];
  const names = newNamesIn(graph, constants);
  const { unique } = names;
  /** By the quantized value. */
  const storedOf = new Map<string, StoredWeight>();
  const storedWeights: StoredWeight[] = [];
  for (const layer of linearLayers(graph)) {
    const quantizer = weightQuantizers.get(layer.node.inputs[1]);
    if (!quantizer) continue;
    const affine = affineOf(graph, readers, layer);
    const isInteger = biases === "float" || computesWithIntegers(graph, readers, layer.node, affine.output);
    const input = isInteger ? weightQuantizers.get(layer.node.inputs[0]) : undefined;
    const inputScale = scaleForBias(graph, biases, layer, quantizer, input);
    const { nodes, stored } = foldLayer(
      graph,
      { layer, quantizer, affine, inputScale, isBesideFloats: input === undefined },
      { constants, unique, storedWeights },
    );
    storedOf.set(quantizer.output, stored);
    const { name, node } = layer;
    const { integers, zeroPoint } = stored;
    const hasLevels = quantizer.levels !== "";
    layers.push({ name, bits: quantizer.bits, integers, zeroPoint, hasLevels, node: node.name, output: affine.output });
    for (const node of affine.replaced) replacement.set(node.name, []);
    replacement.set(affine.replaced[affine.replaced.length - 1].name, nodes);
  }
  for (const node of graph.nodes) {
    const stored = node.op === "Gather" ? storedOf.get(node.inputs[0]) : undefined;
    if (stored) replacement.set(node.name, lookupNodes(node, stored, { constants, names }));
  }
  const replaced = { ...graph, constants, nodes: graph.nodes.flatMap((node) => replacement.get(node.name) ?? [node]) };
  // A layer stands where its normalization stood, which may be behind another that reads the same weight.
  const sorted = removeDeadNodes(inferTypes({ ...replaced, nodes: sortNodes(replaced) }));
  return { graph: dropRepeatedClips(sorted), layers, biases };
}

/** What follows the product: the layer's own bias and the normalization that alone reads it. */
function affineOf(graph: Graph, readers: ReadonlyMap<string, readonly Node[]>, layer: LinearLayer): Affine {
  const rows = Number(graph.values.get(layer.weight)?.shape[layer.rowAxis]);
  const bias = biasOf(graph, layer, rows * layer.channelsPerRow);
  const next = foldedNormalization(graph, readers, layer);
  if (!next)
    return {
      factor: new Array<number>(rows).fill(1),
      offset: bias ?? [],
      output: layer.node.outputs[0],
      replaced: [layer.node],
      hasBias: bias !== undefined,
    };
  const [gamma, beta, mean, variance] = next.inputs.slice(1, 5).map((name) => numbersOfConstant(graph, name));
  const epsilon = numberAttribute(next, "epsilon", 1e-5);
  const factor = gamma.map((value, c) => value / Math.sqrt(variance[c] + epsilon));
  const offset = beta.map((value, c) => value + ((bias?.[c] ?? 0) - mean[c]) * factor[c]);
  return { factor, offset, output: next.outputs[0], replaced: [layer.node, next], hasBias: true };
}

/** A bias may be one number for all channels. */
function biasOf(
  graph: Graph,
  { bias, takesBias, biasFactor }: LinearLayer,
  channels: number,
): readonly number[] | undefined {
  if (bias === "" || !takesBias) return undefined;
  const values = numbersOfConstant(graph, bias);
  return Array.from(
    { length: channels },
    (_, channel) => (values.length === 1 ? values[0] : values[channel]) * biasFactor,
  );
}

interface FoldedNodes {
  readonly nodes: readonly Node[];
  readonly stored: StoredWeight;
}

/** What of a layer is folded together. */
interface QuantizedLayer {
  readonly layer: LinearLayer;
  readonly quantizer: Quantizer;
  readonly affine: Affine;
  /** At which an int32 bias is, times the weight's scale; absent: biases stay floats. */
  readonly inputScale: number | undefined;
  /** Whether its input has no quantizer, or its kernel computes with floats all the same. */
  readonly isBesideFloats: boolean;
}

/** Biases as int32 are for integer kernels: their weights are int8 around zero once zero points are off, with one scale per output channel. */
function scaleForBias(
  graph: Graph,
  biases: BiasForm,
  layer: LinearLayer,
  weight: Quantizer,
  input: Quantizer | undefined,
): number | undefined {
  const isAroundZero = weight.zeroPoint === "" || weight.bits < 8;
  const isPlain = isAroundZero && weight.levels === "" && !isGrouped(weight.granularity) && layer.channelsPerRow === 1;
  return biases === "int32" && layer.takesBias && isPlain && input
    ? numbersOfConstant(graph, input.scale)[0]
    : undefined;
}

function foldLayer(
  graph: Graph,
  { layer, quantizer, affine, inputScale, isBesideFloats }: QuantizedLayer,
  additions: Additions,
): FoldedNodes {
  const { constants, unique } = additions;
  const weight = graph.constants.get(layer.weight);
  assert(weight, `weight "${layer.weight}" is not a constant`);
  const integers = integersOf(graph, layer, quantizer, affine.factor);
  const { hasBias, offset } = affine;
  if (hasBias && inputScale !== undefined) rescaleForBias(integers, weight, layer.rowAxis, offset, inputScale);
  const named = { constants, nameOf: (suffix: string): string => unique(`${layer.name}.${suffix}`) };
  const { stored, nodes } = storeWeight(layer, weight, integers, additions);
  const { beta: _, ...attributes } = layer.node.attributes;
  const linear = (bias: readonly string[], output: string): Node => {
    const inputs = [layer.node.inputs[0], stored.output, ...bias];
    return { ...layer.node, attributes, inputs, outputs: [output] };
  };
  if (!hasBias) return { stored, nodes: [...nodes, linear([], affine.output)] };
  if (isBesideFloats && layer.takesBias) {
    const bias = named.nameOf("bias_folded");
    constants.set(bias, tensorOf(weight.dtype, [offset.length], offset));
    return { stored, nodes: [...nodes, linear([bias], affine.output)] };
  }
  if (inputScale === undefined) {
    const rank = graph.values.get(layer.node.outputs[0])?.shape.length ?? 2;
    const { product, add } = floatBias(layer, rank, weight, affine, named);
    return { stored, nodes: [...nodes, linear([], product), add] };
  }
  const bias = integerBias(integers, weight.dtype, offset, inputScale, named);
  return { stored, nodes: [...nodes, bias, linear(bias.outputs, affine.output)] };
}
