// What the native engine asks of its addon for an example, recorded instead of run.
import type { NativeAddon, NativeMemory, NativeStep } from "../../src/engines/native/addon.ts";
import { assert } from "../../src/ir/errors.ts";

/** A program and one run of it, in plain data. */
export interface RecordedPlan {
  title: string;
  readonly threads: number;
  /** The contents of each memory when the program runs. */
  readonly memories: readonly Uint8Array[];
  readonly steps: readonly NativeStep[];
  readonly firstCommit: number;
  readonly counts: Float64Array;
  /** By result: memory's index, offset and bytes. */
  readonly results: readonly (readonly [number, number, number])[];
}

class RecordedMemory implements NativeMemory {
  readonly bytes: Uint8Array;
  constructor(bytes: number) {
    this.bytes = new Uint8Array(bytes);
  }
  write(offset: number, data: ArrayBufferView): void {
    this.bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
  }
  read(): void {}
  dispose(): void {}
}

/** An addon that runs nothing and keeps what it was told in `plans`; for the rest it is `addon`. */
export function createRecorder(plans: RecordedPlan[], addon: NativeAddon): NativeAddon {
  const indexOf = (memories: readonly NativeMemory[], memory: NativeMemory): number => {
    const index = memories.indexOf(memory);
    assert(index >= 0, "a result lies in none of the program's memories");
    return index;
  };
  class RecordedProgram {
    readonly #given: ConstructorParameters<NativeAddon["Program"]>;
    constructor(...given: ConstructorParameters<NativeAddon["Program"]>) {
      this.#given = given;
    }
    async run(counts: Float64Array, results: readonly unknown[]): Promise<boolean> {
      const [threads, memories, steps, firstCommit] = this.#given;
      const triples = Array.from({ length: results.length / 3 }, (_, i) => results.slice(3 * i, 3 * i + 3));
      if (steps.length === 0) return true;
      plans.push({
        title: "",
        threads,
        steps,
        firstCommit,
        counts,
        memories: memories.map((memory) => (memory as RecordedMemory).bytes.slice()),
        results: triples.map(([memory, offset, array]) => [
          indexOf(memories, memory as NativeMemory),
          offset as number,
          (array as ArrayBufferView).byteLength,
        ]),
      });
      return true;
    }
    abort(): void {}
    describe(): readonly string[] {
      return this.#given[2].map(({ kernel }) => kernel);
    }
    times(): readonly number[] {
      return [];
    }
    dispose(): void {}
  }
  return { ...addon, Memory: RecordedMemory, Program: RecordedProgram };
}
