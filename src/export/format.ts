// What a format of exported models is.
import type { Origin } from "../ir/graph.ts";
import type { Folded } from "../quantizers/fold.ts";
import type { LayerForm } from "./checkpoints/decoder-weights.ts";
import type { Storage } from "./qdq.ts";
import type { OpenedModel, Verification, VerificationRun } from "./verify.ts";

/** One file of an exported model, named as it is in its folder: `onnx/model.onnx` lies in a folder of its own. */
export interface ExportedFile {
  readonly name: string;
  /** Of a file that is on disk already, read whenever they are used. */
  readonly bytes: Uint8Array;
  readonly onDisk?: { readonly path: string; readonly sizeBytes: number };
}

export const modelIn = (file: ExportedFile): OpenedModel => file.onDisk?.path ?? file.bytes;

export const sizeOfFile = (file: ExportedFile): number => file.onDisk?.sizeBytes ?? file.bytes.length;

/** What is exported. */
export interface ExportSource {
  readonly folded: Folded;
  readonly origin: Origin;
  readonly storage: Storage;
}

/** Which of a layer's weights share a scale. */
export type ScaleSharing = "tensor" | "channel" | "group";

export interface ExportFormat {
  /** What it stores scales of weights in, which they are rounded to before they are folded; float32 where absent. */
  readonly scaleType?: "float16";
  /** Layers beyond it are refused before anything is written. */
  readonly holds: {
    readonly weightBits: { readonly min: number; readonly max: number };
    readonly scales: readonly ScaleSharing[];
  };
  /** First the one that runtimes open. */
  readonly write: (source: ExportSource) => readonly [ExportedFile, ...ExportedFile[]];
  /** Throws BAD_OPTION where what it writes would not hold these layers. Called before anything is computed. */
  readonly check?: (layers: readonly LayerForm[]) => void;
  /** Bits that the file holds of each weight in groups, scales and zero points included; `undefined` where there is none. */
  readonly bitsPerWeight?: (folded: Folded) => number | undefined;
  /** What is written of the same weights in other formats. */
  readonly others?: (source: ExportSource) => readonly ExportedFile[];
  /** Runs the files as their users will, and compares them with the folded graph. */
  readonly verify: (
    source: ExportSource,
    files: readonly ExportedFile[],
    run: VerificationRun,
  ) => Promise<Verification>;
}
