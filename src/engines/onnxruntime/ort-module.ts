// ONNX Runtime's module: an optional peer that is loaded when it is used. Its types are written down here, as far as they are
// used, since the published ones must not name a package that need not be there.
import { FrostbitError } from "../../ir/errors.ts";

/** A tensor of ONNX Runtime's. */
export interface OrtTensor {
  /** An element type as ONNX Runtime names them, such as "float32". */
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
}

/** A loaded model of ONNX Runtime's. */
export interface OrtSession {
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly OrtValue[];
  readonly outputMetadata: readonly OrtValue[];
  /** The outputs named, of these inputs. */
  run(
    feeds: Readonly<Record<string, OrtTensor>>,
    fetches: readonly string[],
  ): Promise<Readonly<Record<string, OrtTensor>>>;
  /** Ends the trace that `enableProfiling` began. */
  endProfiling(): void;
  /** Gives the model's memory back. */
  release(): Promise<void>;
}

/** What a model declares of an input or output; sizes that are known only when it runs are names. */
export type OrtValue =
  | { readonly name: string; readonly isTensor: false }
  | {
      readonly name: string;
      readonly isTensor: true;
      readonly type: string;
      readonly shape: readonly (number | string)[];
    };

/** What onnxruntime-node and onnxruntime-web have in common: the part of either module that Frostbit uses. */
export interface OrtModule {
  readonly InferenceSession: {
    /** The bytes of a model or, in Node, its file. */
    create(model: Uint8Array | string, options?: OrtSessionOptions): Promise<OrtSession>;
  };
  readonly Tensor: new (type: "float32", data: Float32Array, dims?: readonly number[]) => OrtTensor;
}

/** Of ONNX Runtime's options for sessions those that Frostbit sets. */
export interface OrtSessionOptions {
  readonly graphOptimizationLevel?: "disabled" | "basic" | "extended" | "all";
  readonly executionMode?: "sequential";
  readonly logSeverityLevel?: 4;
  readonly intraOpNumThreads?: number;
  readonly executionProviders?: readonly string[];
  readonly extra?: Record<string, unknown>;
  readonly enableProfiling?: boolean;
  readonly profileFilePrefix?: string;
}

let loaded: Promise<OrtModule> | undefined;

/** onnxruntime-node, once. */
export function loadOrt(): Promise<OrtModule> {
  loaded ??= importOrt();
  return loaded;
}

async function importOrt(): Promise<OrtModule> {
  try {
    const module: OrtModule & { readonly default?: OrtModule } = await import("onnxruntime-node");
    return module.default ?? module;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FrostbitError(
      "ENGINE",
      `onnxruntime-node cannot be loaded (${reason}). Install it: npm install onnxruntime-node (behind a firewall with ONNXRUNTIME_NODE_INSTALL=skip in the environment).`,
      { cause },
    );
  }
}
