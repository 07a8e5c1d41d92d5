// A session of ONNX Runtime with our tensors in and out. Whose module it is, onnxruntime-node or onnxruntime-web, the caller says.
import type { DType, TypedArray } from "../../ir/dtype.ts";
import { FrostbitError } from "../../ir/errors.ts";
import type { ValueType } from "../../ir/graph.ts";
import type { Tensor } from "../../ir/tensor.ts";
import type { OrtModule, OrtSession } from "./ort-module.ts";
import { fromOrt, toOrt } from "./tensors.ts";

export interface SessionOptions {
  /** CPU threads; all cores where absent. */
  readonly threads?: number;
  /** What runs the operators, the preferred first, such as "webgpu" and "wasm"; the processor where absent. */
  readonly providers?: readonly string[];
  /** ONNX Runtime's graph optimizations; its default is "all". */
  readonly optimization?: "disabled" | "basic" | "extended" | "all";
  /** ONNX Runtime's session configuration entries, such as `session: { disable_quant_qdq: "1" }`. */
  readonly extra?: Readonly<Record<string, unknown>>;
  /** Writes a trace of every node's time to a file that starts with this. */
  readonly profile?: string;
}

/** A model opened in ONNX Runtime, until `dispose()`. */
export interface Session {
  /** As the file declares them. */
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  /** `fetch`: names of the outputs wanted; all of them where absent. `spare`: by output, an array that it may be written into. */
  run(
    inputs: ReadonlyMap<string, Tensor>,
    fetch?: readonly string[],
    spare?: ReadonlyMap<string, TypedArray>,
  ): Promise<ReadonlyMap<string, Tensor>>;
  /** Gives the model's memory back. */
  dispose(): Promise<void>;
}

/** Opens a model from its bytes or, in Node, its file. */
export async function openSession(
  ort: OrtModule,
  model: Uint8Array | string,
  options: SessionOptions = {},
): Promise<Session> {
  const session = await open(ort, model, options);
  return {
    inputs: valuesOf(session.inputMetadata),
    outputs: valuesOf(session.outputMetadata),
    run: (inputs, fetch) => runSession(ort, session, inputs, fetch),
    dispose: async () => {
      if (options.profile !== undefined) session.endProfiling();
      await session.release();
    },
  };
}

async function open(ort: OrtModule, model: Uint8Array | string, options: SessionOptions): Promise<OrtSession> {
  const { threads, optimization = "all", extra, profile, providers } = options;
  const settings = {
    graphOptimizationLevel: optimization,
    executionMode: "sequential" as const,
    // Fatal alone: what fails is thrown, with ONNX Runtime's reason in it.
    logSeverityLevel: 4 as const,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    ...(providers ? { executionProviders: [...providers] } : {}),
    ...(extra ? { extra: { ...extra } } : {}),
    ...(profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: profile }),
  };
  try {
    return await ort.InferenceSession.create(model, settings);
  } catch (cause) {
    throw new FrostbitError("ENGINE", `ONNX Runtime cannot load the model: ${reasonOf(cause)}`, { cause });
  }
}

async function runSession(
  ort: OrtModule,
  session: OrtSession,
  inputs: ReadonlyMap<string, Tensor>,
  fetch: readonly string[] | undefined,
): Promise<ReadonlyMap<string, Tensor>> {
  const feeds = Object.fromEntries([...inputs].map(([name, value]) => [name, toOrt(ort, name, value)]));
  try {
    const results = await session.run(feeds, [...(fetch ?? session.outputNames)]);
    return new Map(Object.entries(results).map(([name, value]) => [name, fromOrt(name, value)]));
  } catch (cause) {
    if (cause instanceof FrostbitError) throw cause;
    throw new FrostbitError("ENGINE", `ONNX Runtime failed while running: ${reasonOf(cause)}`, { cause });
  }
}

/** The message without the place in ONNX Runtime's own sources. */
function reasonOf(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause);
  return message.replace(/^\/\S+:\d+ .*?(?=[A-Z"'])/s, "").trim();
}

function valuesOf(metadata: OrtSession["inputMetadata"]): ReadonlyMap<string, ValueType> {
  const values = new Map<string, ValueType>();
  for (const value of metadata)
    if (value.isTensor) values.set(value.name, { dtype: value.type as DType, shape: [...value.shape] });
  return values;
}
