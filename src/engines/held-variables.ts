// Variables of the engines that hold them in JavaScript: they are fed to each run, and its outputs take their places.
import { FrostbitError } from "../ir/errors.ts";
import { copyTensor, type Tensor } from "../ir/tensor.ts";
import type { Variables } from "./engine.ts";

/** Tensors are replaced, never written into. */
export interface HeldVariables extends Variables {
  /** Name of the engine that they stay with. */
  readonly engine: string;
  readonly current: Map<string, Tensor>;
}

export const areHeldBy = (engine: string, variables: Variables): variables is HeldVariables =>
  "engine" in variables && variables.engine === engine;

export function createHeldVariables(engine: string, initial: ReadonlyMap<string, Tensor>): HeldVariables {
  const current = new Map<string, Tensor>();
  const add = (values: ReadonlyMap<string, Tensor>): void => {
    for (const [name, value] of values) current.set(name, copyTensor(value));
  };
  const required = (name: string): Tensor => {
    const value = current.get(name);
    if (value) return value;
    throw new FrostbitError("BAD_DATA", `There is no variable "${name}"; there are ${[...current.keys()].join(", ")}.`);
  };
  add(initial);
  return {
    engine,
    current,
    names: () => [...current.keys()],
    read: async (name) => copyTensor(required(name)),
    write: async (name, value) => {
      required(name);
      current.set(name, copyTensor(value));
    },
    add: async (values) => add(values),
    dispose: () => current.clear(),
  };
}
