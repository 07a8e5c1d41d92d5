// What the processor computes exactly or fast, as this machine's addon tells it.
import { FrostbitError } from "../../ir/errors.ts";
import type { Precision } from "../engine.ts";
import type { NativeAddon } from "./addon.ts";
import { createKernelChooser } from "./choose-kernels.ts";
import type { Numerics } from "./lowering.ts";

interface KernelsAtHand extends Pick<Numerics, "choose"> {
  /** Our own that this processor computes wrongly; none where absent. */
  readonly faulty?: ReadonlySet<string>;
}

/**
 * On x64 without VNNI pairs of products saturate at 16 bits: weights up to 64 are exact with every activation. AVX2's VNNI does not count:
 * oneDNN's matrix products of codes for AVX2 do without it.
 */
export function createNumerics(
  addon: NativeAddon,
  precision: Precision,
  threads: number,
  { choose, faulty = new Set() }: KernelsAtHand = createKernelChooser(threads),
): Numerics {
  const { exactIntegers, bfloat16, hasBfloat16, hasWinograd } = addon.information();
  if (precision === "mixed" && !bfloat16)
    throw new FrostbitError(
      "BAD_OPTION",
      "precision mixed needs an x64 processor with bfloat16 instructions (AVX-512 BF16 or AMX); this is none, or ONEDNN_MAX_CPU_ISA (oneDNN 2: DNNL_MAX_CPU_ISA) forbids them. Use float32.",
    );
  return {
    integers: exactIntegers ? 128 : 64,
    bfloat16: precision === "mixed",
    ownBfloat16: hasBfloat16,
    winograd: hasWinograd,
    implementation: createProbe(addon, threads),
    choose,
    faulty,
  };
}

/** Makes a program of the one step over memory that stays untouched; oneDNN keeps the primitive for the plan's own. */
function createProbe(addon: NativeAddon, threads: number): Numerics["implementation"] {
  const known = new Map<string, string>();
  return (kernel, bytes, ints) => {
    const key = [kernel, ...ints].join();
    const found = known.get(key);
    if (found !== undefined) return found;
    const step = {
      kernel,
      places: Float64Array.from(bytes.flatMap((each) => (each === 0 ? [-1, 0, 0] : [0, 0, each]))),
      ints: Float64Array.from(ints),
      floats: new Float64Array(),
    };
    const memory = new addon.Memory(Math.max(...bytes));
    const program = new addon.Program(threads, [memory], [step], 0);
    const [name] = program.describe();
    program.dispose();
    memory.dispose();
    known.set(key, name);
    return name;
  };
}
