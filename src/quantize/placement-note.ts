// What placement `inputs` costs a network of convolutions, said before anything is computed.
import type { Graph } from "../ir/graph.ts";
import { isQuantized, type RunOptions } from "../options/run-options.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import { bitsOfLayer, placementOf, type QuantizeOptions } from "../quantizers/quantize-options.ts";

/** ONNX Runtime multiplies the quantized operands of matrix products alone as integers where what they give is float. */
const floatOps: ReadonlySet<string> = new Set(["Conv", "ConvTranspose"]);

const isWhole = (options: QuantizeOptions, layer: string): boolean => {
  const bits = bitsOfLayer(options, layer);
  return bits?.weights === 8 && bits.activations === 8;
};

/** Where integer kernels of 8 bits could run most layers, and no target asks for something else. */
export function placementNote(options: RunOptions, graph: Graph): string | undefined {
  const { quantize } = options;
  if (!isQuantized(options) || placementOf(quantize) === "runtime" || quantize.target !== undefined) return undefined;
  const layers = linearLayers(graph);
  const count = layers.filter(({ name, node }) => floatOps.has(node.op) && isWhole(quantize, name)).length;
  if (2 * count <= layers.length) return undefined;
  return `Placement inputs gives a small file; ONNX Runtime computes its ${count} quantized convolutions in float, and usually takes longer than for the float model. For speed: --placement runtime.`;
}
