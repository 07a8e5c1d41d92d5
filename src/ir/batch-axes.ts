// Where inputs have their batch axis.
import type { Graph, ValueType } from "./graph.ts";

/**
 * By input, or of other values of the model, the axis along which samples are: the first, unless that one is fixed and a later one
 * alone has the name of another input's first axis, as recurrent states have it.
 */
export function batchAxes(
  inputs: ReadonlyMap<string, ValueType>,
  values: ReadonlyMap<string, ValueType> = inputs,
): ReadonlyMap<string, number> {
  const first = [...inputs.values()].map(({ shape }) => shape[0]);
  const names = new Set(first.filter((size) => typeof size === "string" && size !== ""));
  const axisOf = ({ shape }: ValueType): number => {
    const axes = shape.flatMap((size, axis) => (names.has(size) ? [axis] : []));
    return axes.length === 1 ? axes[0] : 0;
  };
  return new Map([...values].map(([name, type]) => [name, axisOf(type)]));
}

/** By name, the types of a graph's inputs. */
export const inputTypes = ({ inputs, values }: Pick<Graph, "inputs" | "values">): ReadonlyMap<string, ValueType> =>
  new Map(
    inputs.flatMap((name) => {
      const type = values.get(name);
      return type ? [[name, type] as const] : [];
    }),
  );
