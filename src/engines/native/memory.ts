// A plan's memory in the addon, and the program that runs over it.
import { assert } from "../../ir/errors.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { type Arena, placeMemory } from "../planning/place-memory.ts";
import { type NativeAddon, type NativeMemory, type NativeProgram, type NativeStep, throwPlanError } from "./addon.ts";
import type { FusedOperation, Plan, Slot, Step } from "./plan.ts";
import { isShared, releaseConstants, shareConstant } from "./shared-constants.ts";

export interface Assembled {
  readonly plan: Plan;
  readonly arena: Arena<Slot>;
  readonly arenaMemory: NativeMemory;
  /** Of small constants: where in `constantMemory`. */
  readonly constants: ReadonlyMap<Tensor, number>;
  readonly constantMemory: NativeMemory;
  readonly shared: ReadonlyMap<Tensor, NativeMemory>;
  /** Of all constants. */
  readonly constantBytes: number;
  /** Those made over it, as long as somebody may run them. */
  readonly programs: Set<WeakRef<NativeProgram>>;
}

export interface Bound {
  readonly program: NativeProgram;
  readonly memories: ReadonlyMap<string, NativeMemory>;
}

const alignment = 64;

/** All constants that steps or outputs use: the large ones, and the others one after the other. */
function layConstants(plan: Plan) {
  const [large, constants] = [new Map<Tensor, number>(), new Map<Tensor, number>()];
  let bytes = 0;
  const outputs = [...plan.outputs.values()].map(({ slot }) => slot);
  for (const slot of [...plan.steps.flatMap((step) => step.inputs), ...outputs]) {
    if (slot?.location.kind !== "constant") continue;
    const { value } = slot.location;
    if (isShared(slot.bytes)) large.set(value, slot.bytes);
    else if (!constants.has(value)) {
      constants.set(value, bytes);
      bytes += Math.ceil(slot.bytes / alignment) * alignment;
    }
  }
  return { large, constants, bytes };
}

/** Takes the memory of a plan's constants and intermediate values. */
export function assemble(addon: NativeAddon, plan: Plan): Assembled {
  const slotsOf = (values: Plan["inputs"]): readonly Slot[] => [...values.values()].map(({ slot }) => slot);
  const arena = placeMemory({
    steps: plan.steps,
    early: slotsOf(plan.inputs),
    late: slotsOf(plan.outputs),
    isPlaced: ({ location }) => location.kind === "arena",
  });
  const { large, constants, bytes } = layConstants(plan);
  const constantMemory = new addon.Memory(bytes);
  for (const [value, offset] of constants) constantMemory.write(offset, value.data);
  const shared = new Map([...large.keys()].map((value) => [value, shareConstant(addon, value)]));
  const constantBytes = [...large.values()].reduce((sum, size) => sum + size, bytes);
  const arenaMemory = new addon.Memory(arena.bytes);
  return { plan, arena, arenaMemory, constants, constantMemory, shared, constantBytes, programs: new Set() };
}

/** Gives back a plan's memory now, not when it is collected. */
export function release({ arenaMemory, constantMemory, shared, programs }: Assembled): void {
  for (const program of programs) program.deref()?.dispose();
  programs.clear();
  for (const memory of [arenaMemory, constantMemory]) memory.dispose();
  releaseConstants(shared.keys());
}

/** The memory and offset of a slot. */
export function placeOf(
  { arena, arenaMemory, constants, constantMemory, shared }: Assembled,
  variables: ReadonlyMap<string, NativeMemory>,
  slot: Slot,
): { readonly memory: NativeMemory; readonly offset: number } {
  const { location } = slot;
  if (location.kind === "arena") return { memory: arenaMemory, offset: arena.offsets.get(slot) ?? 0 };
  if (location.kind === "constant") {
    const memory = shared.get(location.value);
    return memory ? { memory, offset: 0 } : { memory: constantMemory, offset: constants.get(location.value) ?? 0 };
  }
  assert(location.kind === "variable", "a buffer has no memory of its own");
  const memory = variables.get(location.name);
  assert(memory, `variable "${location.name}" has no memory`);
  return { memory, offset: 0 };
}

export function bindProgram(
  addon: NativeAddon,
  assembled: Assembled,
  threads: number,
  memories: ReadonlyMap<string, NativeMemory>,
): Bound {
  const { plan, arenaMemory, constantMemory, shared } = assembled;
  const all = [...new Set([arenaMemory, constantMemory, ...shared.values(), ...memories.values()])];
  const indexOf = new Map(all.map((memory, i) => [memory, i]));
  const place = (slot: Slot | undefined): readonly number[] => {
    if (!slot) return [-1, 0, 0];
    if (slot.location.kind === "local") return [-2, slot.location.index, 0];
    if (slot.location.kind === "window") return [-3, slot.location.offset, slot.bytes];
    const { memory, offset } = placeOf(assembled, memories, slot);
    return [indexOf.get(memory) ?? -1, offset, slot.bytes];
  };
  const places = (slots: readonly (Slot | undefined)[]): Float64Array => Float64Array.from(slots.flatMap(place));
  const operation = ({
    kernel,
    elementwise,
    broadcast,
    results,
    epilogue,
    ints,
    floats,
  }: FusedOperation): NativeStep => ({
    kernel,
    places: places([...elementwise, ...broadcast, ...results, ...epilogue]),
    ints: Float64Array.from(ints),
    floats: Float64Array.from(floats),
  });
  const step = ({ kernel, inputs, outputs, ints, floats, fused, parts }: Step): NativeStep => {
    const operations = fused?.operations.map(operation) ?? parts?.map(step);
    return {
      kernel,
      places: operations ? new Float64Array() : places([...inputs, ...outputs]),
      ints: Float64Array.from(ints),
      floats: Float64Array.from(floats),
      ...(operations ? { operations } : {}),
    };
  };
  const steps = plan.steps.map(step);
  try {
    const program = new addon.Program(threads, all, steps, plan.firstCommit);
    assembled.programs.add(new WeakRef(program));
    return { program, memories };
  } catch (cause) {
    return throwPlanError(cause);
  }
}
