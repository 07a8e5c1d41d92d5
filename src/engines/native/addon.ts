// The addon, loaded when it is first used.
import type { TypedArray } from "../../ir/dtype.ts";
import { type FoundAddon, requireAddon } from "./find-addon.ts";

/** Bytes that live outside JavaScript; plans refer to them. */
export interface NativeMemory {
  write(offset: number, data: TypedArray): void;
  read(offset: number, data: TypedArray): void;
}

export interface NativeStep {
  readonly kernel: string;
  /** Memory's index, offset and bytes by turns; index −1 where an operand is left out. */
  readonly places: Float64Array;
  readonly ints: Float64Array;
  readonly floats: Float64Array;
}

export interface NativeProgram {
  /** `results`: memory, offset and the array that takes its bytes, by turns. Resolves to false when it was aborted. One run at a time. */
  run(counts: Float64Array, results: readonly (NativeMemory | number | TypedArray)[]): Promise<boolean>;
  /** Stops the run before its next step, unless it has begun to write variables. */
  abort(): void;
  /** By step: what implements it. */
  describe(): readonly string[];
  /** By step: milliseconds that it took in the last run. */
  times(): readonly number[];
}

export interface NativeAddon {
  readonly Memory: new (bytes: number) => NativeMemory;
  readonly Program: new (
    threads: number,
    memories: readonly NativeMemory[],
    steps: readonly NativeStep[],
    firstCommit: number,
  ) => NativeProgram;
  /**
   * oneDNN's version, the instruction sets that our kernels and oneDNN use, and whether there are bfloat16 kernels of our own
   * (`weightGradientBfloat16`).
   */
  readonly information: () => {
    readonly oneDnn: string;
    readonly kernels: string;
    readonly oneDnnKernels: string;
    readonly hasBfloat16: boolean;
  };
}

let loaded: { readonly addon: NativeAddon; readonly found: FoundAddon } | undefined;

/** Whatever was found is as old as this file, so that it has these names. */
const load = (): NonNullable<typeof loaded> => {
  loaded ??= requireAddon() as { addon: NativeAddon; found: FoundAddon };
  return loaded;
};

export const loadAddon = (): NativeAddon => load().addon;

/** What `frostbit doctor` tells of it. */
export const describeAddon = (): FoundAddon & ReturnType<NativeAddon["information"]> => ({
  ...load().found,
  ...load().addon.information(),
});
