// Variables of the portable engine: they are fed to each run, and its outputs take their places.
import { FrostbitError } from "../../ir/errors.ts";
import type { Tensor } from "../../ir/tensor.ts";
import type { Variables } from "../engine.ts";

/** Tensors are replaced, never written into. */
export interface HeldVariables extends Variables {
  readonly engine: "onnxruntime";
  readonly current: Map<string, Tensor>;
}

export const isHeldVariables = (variables: Variables): variables is HeldVariables =>
  "engine" in variables && variables.engine === "onnxruntime";

const copy = (value: Tensor): Tensor => ({ ...value, shape: [...value.shape], data: value.data.slice() });

export function createVariables(initial: ReadonlyMap<string, Tensor>): HeldVariables {
  const current = new Map<string, Tensor>();
  const add = (values: ReadonlyMap<string, Tensor>): void => {
    for (const [name, value] of values) current.set(name, copy(value));
  };
  const held = (name: string): Tensor => {
    const value = current.get(name);
    if (value) return value;
    throw new FrostbitError("BAD_DATA", `There is no variable "${name}"; there are ${[...current.keys()].join(", ")}.`);
  };
  add(initial);
  return {
    engine: "onnxruntime",
    current,
    names: () => [...current.keys()],
    read: async (name) => copy(held(name)),
    write: async (name, value) => {
      held(name);
      current.set(name, copy(value));
    },
    add: async (values) => add(values),
    dispose: () => current.clear(),
  };
}
