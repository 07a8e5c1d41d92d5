// Variables of the native engine: each has memory of its own, which plans update in place.
import { dtypes } from "../../ir/dtype.ts";
import { FrostbitError } from "../../ir/errors.ts";
import type { Tensor } from "../../ir/tensor.ts";
import type { Variables } from "../engine.ts";
import { createQueue, type Queue } from "../planning/queue.ts";
import type { NativeAddon, NativeMemory } from "./addon.ts";

interface HeldVariable {
  readonly dtype: Tensor["dtype"];
  readonly shape: readonly number[];
  readonly bytes: number;
  readonly memory: NativeMemory;
}

export interface NativeVariables extends Variables {
  readonly engine: "native";
  readonly held: ReadonlyMap<string, HeldVariable>;
  /** Runs, reads and writes, one after the other. */
  readonly queue: Queue;
}

export const isNativeVariables = (variables: Variables): variables is NativeVariables =>
  "engine" in variables && variables.engine === "native";

export function createVariables(addon: NativeAddon, initial: ReadonlyMap<string, Tensor>): NativeVariables {
  const held = new Map<string, HeldVariable>();
  const queue = createQueue();
  const set = (name: string, { dtype, shape, data }: Tensor): void => {
    const known = held.get(name);
    // Programs stay bound to memory that stays.
    const memory = known?.bytes === data.byteLength ? known.memory : new addon.Memory(data.byteLength);
    memory.write(0, data);
    if (known && known.memory !== memory) known.memory.dispose();
    held.set(name, { dtype, shape: [...shape], bytes: data.byteLength, memory });
  };
  const find = (name: string): HeldVariable => {
    const value = held.get(name);
    if (value) return value;
    throw new FrostbitError("BAD_DATA", `There is no variable "${name}"; there are ${[...held.keys()].join(", ")}.`);
  };
  for (const [name, value] of initial) set(name, value);
  return {
    engine: "native",
    held,
    queue,
    names: () => [...held.keys()],
    read: (name) =>
      queue.run(async () => {
        const { dtype, shape, memory } = find(name);
        const data = new dtypes[dtype].array(shape.reduce((product, size) => product * size, 1));
        memory.read(0, data);
        return { dtype, shape, data };
      }),
    write: (name, value) =>
      queue.run(async () => {
        find(name);
        set(name, value);
      }),
    add: (values) =>
      queue.run(async () => {
        for (const [name, value] of values) set(name, value);
      }),
    dispose: () => {
      for (const { memory } of held.values()) memory.dispose();
      held.clear();
    },
  };
}
