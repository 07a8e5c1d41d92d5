// The formats that quantized models are exported in.
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { sizeOf } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import type { Folded, FoldedLayer } from "../quantizers/fold.ts";
import { type ExportedFile, type ExportFormat, type ExportSource, modelIn, type ScaleSharing } from "./format.ts";
import { bitsPerWeight, exportMatMulNBits } from "./matmul-nbits.ts";
import { type Exported, exportQdq } from "./qdq.ts";
import { verifyExport } from "./verify.ts";

/** One ONNX file, verified layer by layer and as a whole. */
const onnxFormat = (exported: (source: ExportSource) => Exported): ExportFormat => ({
  holds: { weightBits: { min: 2, max: 8 }, scales: ["tensor", "channel", "group"] },
  write: (source) => {
    const { model, opset } = exported(source);
    return [{ name: "model.onnx", bytes: writeOnnx(model, { opset }) }];
  },
  verify: (source, [file], run) =>
    verifyExport({ folded: source.folded, exported: exported(source), model: modelIn(file) }, run),
});

export const exportFormats = {
  /** ONNX with QuantizeLinear and DequantizeLinear. */
  qdq: onnxFormat(({ folded, origin, storage }) => exportQdq(folded, origin, storage)),
  /** The same, with MatMulNBits of ONNX Runtime where floats are multiplied by a matrix whose weights share scales in groups. */
  matMulNBits: {
    ...onnxFormat(({ folded, origin, storage }) => exportMatMulNBits(folded, origin, storage)),
    bitsPerWeight: (folded) => bitsPerWeight(folded, 32),
  },
} as const satisfies Readonly<Record<string, ExportFormat>>;

export type FormatName = keyof typeof exportFormats;

/** Throws BAD_OPTION for layers that the format does not hold. */
export function writeFormat(
  name: string,
  format: ExportFormat,
  source: ExportSource,
): readonly [ExportedFile, ...ExportedFile[]] {
  checkHeld(name, format, source.folded);
  return format.write(source);
}

function checkHeld(name: string, { holds }: ExportFormat, { graph, layers }: Folded): void {
  const { min, max } = holds.weightBits;
  for (const layer of layers) {
    const sharing = sharingOf(graph, layer);
    if (layer.bits >= min && layer.bits <= max && holds.scales.includes(sharing)) continue;
    throw new FrostbitError(
      "BAD_OPTION",
      `Layer "${layer.name}" has weights of ${layer.bits} bits with one scale per ${sharing}; the format ${name} holds ${min} to ${max} bits with one scale per ${holds.scales.join(" or ")}. Choose other bits for the layer, or another format.`,
    );
  }
}

function sharingOf(graph: Graph, { integers }: FoldedLayer): ScaleSharing {
  const reader = graph.nodes.find(({ op, inputs }) => op === "DequantizeLinear" && inputs[0] === integers);
  if (reader?.attributes["block_size"]) return "group";
  const scale = graph.values.get(reader?.inputs[1] ?? "");
  return scale && sizeOf(scale.shape.map(Number)) > 1 ? "channel" : "tensor";
}
