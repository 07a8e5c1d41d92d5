// Large constants in native memory: one copy for all plans that read them, kept for a while for plans to come.
import { dtypes } from "../../ir/dtype.ts";
import { sizeOf, type Tensor } from "../../ir/tensor.ts";
import { elementsInParts } from "../../ir/tensor-source.ts";
import type { NativeAddon, NativeMemory } from "./addon.ts";

/** Smaller ones lie together in each plan's own memory. */
const leastBytes = 2 ** 16;
/** What is kept at most of constants that no plan reads at present. */
const keptBytes = 2 ** 26;

interface Shared {
  readonly value: Tensor;
  readonly memory: NativeMemory;
  readonly bytes: number;
  /** How many plans read it. */
  plans: number;
}

const known = new WeakMap<Tensor, Shared>();
/** The longest unused first; those that a plan reads again are skipped. A tensor that is collected takes its memory along. */
let unused: readonly WeakRef<Shared>[] = [];

export const isShared = (bytes: number): boolean => bytes >= leastBytes;

/** The memory of a constant, for a plan that reads it until `releaseConstants`. */
export function shareConstant(addon: NativeAddon, value: Tensor): NativeMemory {
  const shared = known.get(value) ?? copied(addon, value);
  shared.plans++;
  return shared.memory;
}

function copied(addon: NativeAddon, value: Tensor): Shared {
  const bytes = sizeOf(value.shape) * dtypes[value.dtype].array.BYTES_PER_ELEMENT;
  const memory = new addon.Memory(bytes);
  let end = 0;
  for (const part of elementsInParts(value)) {
    memory.write(end, part);
    end += part.byteLength;
  }
  const shared: Shared = { value, memory, bytes, plans: 0 };
  known.set(value, shared);
  return shared;
}

/** One plan fewer reads each of them. */
export function releaseConstants(values: Iterable<Tensor>): void {
  const left = new Set(unused.flatMap((reference) => reference.deref() ?? []));
  for (const value of values) {
    const shared = known.get(value);
    if (!shared || --shared.plans > 0) continue;
    left.delete(shared);
    left.add(shared);
  }
  unused = disposeOldest([...left].filter(({ plans }) => plans === 0)).map((shared) => new WeakRef(shared));
}

/** Those that are kept. */
function disposeOldest(left: readonly Shared[]): readonly Shared[] {
  let bytes = left.reduce((sum, shared) => sum + shared.bytes, 0);
  return left.filter((shared) => {
    if (bytes <= keptBytes) return true;
    bytes -= shared.bytes;
    shared.memory.dispose();
    known.delete(shared.value);
    return false;
  });
}
