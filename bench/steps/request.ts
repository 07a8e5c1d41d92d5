// What a worker is asked to time, and what it gives back.
import type { CompileOptions, Precision } from "../../src/engines/engine.ts";
import type { EngineName } from "../../src/engines/select.ts";
import type { ModelName, Variant } from "../support/model-step.ts";

export interface StepRequest extends Variant {
  readonly model: ModelName;
  readonly engine: EngineName;
  /** The engine's default where absent. */
  readonly precision?: Precision;
  readonly batch: number;
  readonly threads: number;
  readonly steps: number;
  /** Bits. */
  readonly weights: number;
  readonly activations: number;
}

export const compileOptions = ({ threads, precision }: StepRequest): CompileOptions => ({
  threads,
  ...(precision === undefined ? {} : { precision }),
});

export interface Measured {
  readonly stepMs: readonly number[];
  /** The peer's alone. */
  readonly forwardMs?: readonly number[];
  readonly backwardMs?: readonly number[];
  /** Ours alone: reading all weights and choosing blocks again. */
  readonly selectMs?: readonly number[];
  readonly peakMemoryMb: number;
  readonly memoryBeforeModelMb: number;
  readonly compileMs?: number;
  /** The peer's alone: loss and norms of gradients of the first step, by kind of parameter. */
  readonly gradients?: Readonly<Record<string, number>>;
  readonly torch?: string;
  readonly allocator?: string;
}
