// Removes Clips that the quantizers behind them repeat.
import { consumers, type Graph, type Node, producers } from "../ir/graph.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { numbersOf, sizeOf } from "../ir/tensor.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { onlyReader } from "./linear-layers.ts";
import { isQuantizer } from "./quantizer.ts";

/**
 * Where both ends of a Clip are quantized to the quantizer's lowest and highest integer or beyond, the quantizer alone gives the
 * same integers. ONNX Runtime 1.30 does not load a Conv whose Clip is such a one but ends inside the quantizer's range, as that
 * of a Relu6 does once its scale has trained.
 */
export function dropRepeatedClips(graph: Graph): Graph {
  const producerOf = producers(graph);
  const readers = consumers(graph);
  const nodes = graph.nodes.map((node) => {
    const [value, ...rest] = node.inputs;
    const clip = producerOf.get(value);
    if (!isQuantizer(node) || clip?.op !== "Clip" || onlyReader(graph, readers, value) !== node) return node;
    return isRepeated(graph, clip, node) ? { ...node, inputs: [clip.inputs[0], ...rest] } : node;
  });
  return removeDeadNodes({ ...graph, nodes });
}

function isRepeated(graph: Graph, clip: Node, quantizer: Node): boolean {
  const numberOf = (name: string | undefined): number | undefined => {
    const constant = name ? graph.constants.get(name) : undefined;
    return constant && sizeOf(constant.shape) === 1 ? numbersOf(constant)[0] : undefined;
  };
  const [scale, zeroPoint = 0, low, high] = quantizer.inputs.slice(1).map(numberOf);
  const [least, most] = [1, 2].map((i) => (clip.inputs[i] ? numberOf(clip.inputs[i]) : i === 1 ? -Infinity : Infinity));
  if ([scale, low, high, least, most].includes(undefined)) return false;
  const divide = graph.values.get(clip.outputs[0])?.dtype === "float32" ? Math.fround : (ratio: number) => ratio;
  const quantize = (x = 0): number =>
    Number.isFinite(x) ? roundHalfToEven(divide(x / (scale ?? 1))) + roundHalfToEven(zeroPoint) : x;
  return quantize(least) <= (low ?? 0) && quantize(most) >= (high ?? 0);
}
