// The formats that quantized models are exported in: what each can hold, how it is written, and how its files are verified.
import { FrostbitError } from "../ir/errors.ts";
import type { Graph, Origin } from "../ir/graph.ts";
import { sizeOf, type Tensor } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import type { Folded, FoldedLayer } from "../quantizers/fold.ts";
import type { Context } from "../run/context.ts";
import { exportQdq, type Storage } from "./qdq.ts";
import { type OpenDeployed, type Verification, verifyExport } from "./verify.ts";

/** One file of an exported model, named as it is in its folder. */
export interface ExportedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What is exported. */
export interface ExportSource {
  readonly folded: Folded;
  readonly origin: Origin;
  readonly storage: Storage;
}

/** What files are verified with. */
export interface VerificationRun {
  readonly batches: readonly ReadonlyMap<string, Tensor>[];
  readonly open: OpenDeployed;
  readonly context: Context;
}

/** Which of a layer's weights share a scale. */
export type ScaleSharing = "tensor" | "channel" | "group";

export interface ExportFormat {
  /** First the one that runtimes open. */
  readonly fileNames: readonly [string, ...string[]];
  /** Layers beyond it are refused before anything is written. */
  readonly holds: {
    readonly weightBits: { readonly min: number; readonly max: number };
    readonly scales: readonly ScaleSharing[];
  };
  /** The bytes of `fileNames`, in that order. */
  readonly write: (source: ExportSource) => readonly Uint8Array[];
  /** Runs the files as their users will, and compares them with the folded graph. */
  readonly verify: (
    source: ExportSource,
    files: readonly ExportedFile[],
    run: VerificationRun,
  ) => Promise<Verification>;
}

const exported = ({ folded, origin, storage }: ExportSource) => exportQdq(folded, origin, storage);

export const exportFormats = {
  /** ONNX with QuantizeLinear and DequantizeLinear. */
  qdq: {
    fileNames: ["model.onnx"],
    holds: { weightBits: { min: 2, max: 8 }, scales: ["tensor", "channel"] },
    write: (source) => {
      const { model, opset } = exported(source);
      return [writeOnnx(model, { opset })];
    },
    verify: (source, [{ bytes }], { batches, open, context }) =>
      verifyExport(source.folded, exported(source), bytes, batches, open, context),
  },
} as const satisfies Readonly<Record<string, ExportFormat>>;

export type FormatName = keyof typeof exportFormats;

/** Throws BAD_OPTION for layers that the format does not hold. */
export function writeFormat(name: string, format: ExportFormat, source: ExportSource): readonly ExportedFile[] {
  checkHeld(name, format, source.folded);
  const contents = format.write(source);
  return format.fileNames.map((file, i) => ({ name: file, bytes: contents[i] }));
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
