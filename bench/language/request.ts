// What a worker of the language models' benches is asked to time.
import type { Precision } from "../../src/engines/engine.ts";
import type { EngineName } from "../../src/engines/select.ts";
import type { DecoderSizes } from "../support/random-decoder.ts";

/** A step of Block-AP: `batch` windows of `length` tokens, weights of `weights` bits in groups of `group` inputs. */
export interface BlockWork extends DecoderSizes {
  readonly batch: number;
  readonly length: number;
  readonly threads: number;
  readonly steps: number;
  readonly weights: number;
  readonly group: 16 | 32 | 64 | 128 | 256;
}

export interface BlockRequest extends BlockWork {
  readonly engine: EngineName;
  readonly precision: Precision;
}

/** Block-AP of `layers` layers with `windows` windows, and `held` besides by which the best state is kept. */
export interface BlocksWork extends Omit<BlockWork, "steps"> {
  readonly layers: number;
  readonly windows: number;
  readonly held: number;
  readonly epochs: number;
}

export interface BlocksRequest extends BlocksWork {
  readonly engine: EngineName;
  readonly precision: Precision;
}
