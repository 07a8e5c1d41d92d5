// The addon, loaded when it is first used.
import type { TypedArray } from "../../ir/dtype.ts";
import { checkMethods, type FoundAddon, planError, requireAddon } from "./find-addon.ts";

/** Bytes that live outside JavaScript; plans refer to them. */
export interface NativeMemory {
  /** Bytes as they are, or with more than one channel images of 32-bit elements, to lie channels last. */
  write(offset: number, data: TypedArray, channels?: number, plane?: number): void;
  read(offset: number, data: TypedArray): void;
  /** Its bytes go back to the system once no program uses them. */
  dispose(): void;
}

export interface NativeStep {
  readonly kernel: string;
  /** Memory's index, offset and bytes by turns; index −1 where an operand is left out. */
  readonly places: Float64Array;
  readonly ints: Float64Array;
  readonly floats: Float64Array;
  /**
   * Of a fused step; a place whose memory is −2 is the buffer of that offset. Of a step of windows: its steps; of a place whose memory is −3,
   * a window's images lie at that offset of the buffers, and its bytes are those of the batch.
   */
  readonly operations?: readonly NativeStep[];
}

export interface NativeProgram {
  /**
   * The steps `turns` times, one time after the other. `results`: memory, offset and the array that takes its bytes at the end of every
   * turn. `given`: memory, offset, channels, plane, arrays, bytes of a piece, and the numbers of pieces of the arrays that the run's
   * threads write there one after the other before each turn, as `write` does; each array but the last has as many pieces. Nobody changes
   * or transfers the arrays before the run has ended. Resolves to false when it was aborted. One run at a time.
   */
  run(
    counts: Float64Array,
    results: readonly (NativeMemory | number | TypedArray)[],
    given?: readonly (NativeMemory | number | readonly TypedArray[] | Int32Array)[],
    turns?: number,
  ): Promise<boolean>;
  /** Stops the run before its next step, unless it has begun to write variables. */
  abort(): void;
  /** By step: what implements it. */
  describe(): readonly string[];
  /** By step: milliseconds that it took in the last run. */
  times(): readonly number[];
  /** Lets go of its memories and its scratch, when the run in progress has ended. */
  dispose(): void;
}

interface NativeInformation {
  readonly oneDnn: string;
  /** The instruction set of our own kernels. */
  readonly kernels: string;
  /** Whether products of 8-bit integers are exact for all weights: on x64 with AVX-512's VNNI. */
  readonly exactIntegers: boolean;
  /** Whether oneDNN has bfloat16 products; on x64 alone. */
  readonly bfloat16: boolean;
  /** Whether there are gradients of our own in bfloat16. */
  readonly hasBfloat16: boolean;
  /** Whether there are gradients of our own by Winograd's algorithm, in float32. */
  readonly hasWinograd: boolean;
  /** Whether our own products of bfloat16 differ from plain loops, so that oneDNN's are used. */
  readonly productsDiffer: boolean;
  readonly oneDnnKernels: string;
}

export interface NativeAddon {
  readonly Memory: new (bytes: number) => NativeMemory;
  readonly Program: new (
    threads: number,
    memories: readonly NativeMemory[],
    steps: readonly NativeStep[],
    firstCommit: number,
  ) => NativeProgram;
  readonly information: () => NativeInformation;
  /** After Ctrl-C the process ends in so many milliseconds, also while the main thread computes outside JavaScript; absent: listeners alone end it. */
  readonly endAfterSignal: (milliseconds: number | undefined) => void;
  /** The files that it then removes. */
  readonly removeAtSignal: (files: readonly string[]) => void;
}

let loaded: { readonly addon: NativeAddon; readonly found: FoundAddon } | undefined;

const load = (): NonNullable<typeof loaded> => {
  if (loaded) return loaded;
  const { addon, found } = requireAddon();
  checkMethods(addon, found);
  loaded = { addon: addon as unknown as NativeAddon, found };
  return loaded;
};

export const loadAddon = (): NativeAddon => load().addon;

/** Throws what an error of the addon's means while a plan was made. */
export function throwPlanError(cause: unknown): never {
  throw planError(load().found, cause);
}

/** Whether the addon was found and loads. */
export function isNativeBuilt(): boolean {
  try {
    return loadAddon() !== undefined;
  } catch {
    return false;
  }
}

/** What `frostbit doctor` tells of it. */
export const describeAddon = (): FoundAddon & ReturnType<NativeAddon["information"]> => ({
  ...load().found,
  ...load().addon.information(),
});
