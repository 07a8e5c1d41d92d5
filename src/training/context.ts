// What every long call is given besides its model, data and options.
import type { Engine, Precision } from "../engines/engine.ts";

export interface Progress {
  readonly phase: string;
  /** Samples done and to do in this phase. */
  readonly done: number;
  readonly total: number;
  /** Of the training step just done. */
  readonly loss?: number;
  /** Loss or accuracy so far, where the phase has one. */
  readonly note?: string;
}

export interface Context {
  readonly engine: Engine;
  readonly seed: number;
  readonly threads?: number;
  /** How training steps are computed; "float32" where absent. Everything that is measured is computed in float32. */
  readonly precision?: Precision;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  /** What the user should know, in a sentence. */
  readonly onNote?: (note: string) => void;
}
