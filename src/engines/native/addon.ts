// The addon, loaded when it is first used.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { TypedArray } from "../../ir/dtype.ts";
import { FrostbitError } from "../../ir/errors.ts";

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

const place = join("native", "build", "frostbit.node");

/** In the package or the working copy that this file belongs to, compiled or not. */
function findAddon(): string | undefined {
  let folder = import.meta.dirname;
  while (folder !== dirname(folder)) {
    const path = join(folder, place);
    if (existsSync(path)) return path;
    folder = dirname(folder);
  }
  return undefined;
}

const howToBuild =
  'Build it in a clone of the project: apt-get install -y g++ libdnnl-dev && npm run build:native. Or use engine: "onnxruntime".';

let loaded: NativeAddon | undefined;

export function loadAddon(): NativeAddon {
  loaded ??= requireAddon();
  return loaded;
}

function requireAddon(): NativeAddon {
  const path = findAddon();
  if (path === undefined)
    throw new FrostbitError("ENGINE", `The native engine is not built (no ${place}). ${howToBuild}`);
  try {
    return createRequire(import.meta.url)(path) as NativeAddon;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new FrostbitError("ENGINE", `The native engine cannot be loaded (${reason}). ${howToBuild}`, { cause });
  }
}
