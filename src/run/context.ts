// What every long call is given besides its model, data and options.
import type { Communicator } from "../distributed/communicator.ts";
import type { Engine, KernelChoices, Precision } from "../engines/engine.ts";

/** How far a long call has come. */
export interface Progress {
  /** What is being done: "calibrate", "train", "verify", or the accuracy that is being measured. */
  readonly phase: string;
  /** Samples done and to do in this phase. */
  readonly done: number;
  readonly total: number;
  /** Of the training step just done. */
  readonly loss?: number;
  /** Loss or accuracy so far, where the phase has one. */
  readonly note?: string;
}

/** What every long call is given besides its model, data and options. */
export interface Context {
  /** What runs graphs: `selectEngine`, in a browser that of `runtimeOf`. */
  readonly engine: Engine;
  /** A whole number of at least 0; the same seed, engine and threads give the same bytes. */
  readonly seed: number;
  /** CPU threads, 1 or more; the engine's own choice where absent. */
  readonly threads?: number;
  /** How training steps are computed; "float32" where absent. What is measured of the model is computed in float32. */
  readonly precision?: Precision;
  /** What chooses among kernels that compute the same, and what it chose; by fixed rules where absent. */
  readonly kernels?: KernelChoices;
  /** The processes that compute a training step together, each called with the same; this one alone where absent. */
  readonly communicator?: Communicator;
  /** Stops the call after the step in hand: it then throws ABORTED. */
  readonly signal?: AbortSignal;
  /** Called after each step and batch. */
  readonly onProgress?: (progress: Progress) => void;
  /** What the user should know, in a sentence. */
  readonly onNote?: (note: string) => void;
}

/** What a run of a program is given to stop by. */
export const signalOf = ({ signal }: Context): Pick<Context, "signal"> => (signal ? { signal } : {});
