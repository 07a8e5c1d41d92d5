// Checks the tensors that a program is given against the graph's types.
import { FrostbitError } from "../ir/errors.ts";
import type { Dim, Graph, ValueType } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { printShape } from "../ops/attributes.ts";

/** What a symbolic size was first seen as, and where. */
type Sizes = Map<string, { readonly size: number; readonly where: string }>;

const describe = ({ dtype, shape }: { dtype: string; shape: readonly Dim[] }): string =>
  `${dtype} ${printShape(shape)}`;

function checkShape(where: string, type: ValueType, tensor: Tensor, sizes: Sizes): void {
  const isRightRank = tensor.shape.length === type.shape.length;
  const fits = (dim: Dim, axis: number): boolean => typeof dim === "string" || dim === tensor.shape[axis];
  if (tensor.dtype !== type.dtype || !isRightRank || !type.shape.every(fits))
    throw new FrostbitError("BAD_DATA", `${where} is ${describe(tensor)}; expected ${describe(type)}.`);
  type.shape.forEach((dim, axis) => {
    if (typeof dim === "number") return;
    const seen = sizes.get(dim);
    const size = tensor.shape[axis];
    if (seen && seen.size !== size)
      throw new FrostbitError(
        "BAD_DATA",
        `${where} is ${describe(tensor)}, so its size "${dim}" is ${size}; in ${seen.where} it is ${seen.size}.`,
      );
    if (!seen) sizes.set(dim, { size, where });
  });
}

/** Every input is there, none is unknown, and all agree with `graph.values` and, in symbolic sizes, with each other. */
export function checkInputs(graph: Graph, inputs: ReadonlyMap<string, Tensor>): void {
  const missing = graph.inputs.filter((name) => !inputs.has(name));
  const unknown = [...inputs.keys()].filter((name) => !graph.inputs.includes(name));
  if (missing.length > 0 || unknown.length > 0) {
    const quote = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(", ") || "none";
    throw new FrostbitError(
      "BAD_DATA",
      `The inputs given to graph "${graph.name}" do not match: missing ${quote(missing)}, unknown ${quote(unknown)}. Expected ${quote(graph.inputs)}.`,
    );
  }
  const sizes: Sizes = new Map();
  for (const [name, tensor] of inputs) {
    const type = graph.values.get(name);
    if (type) checkShape(`Input "${name}"`, type, tensor, sizes);
  }
}

export function checkVariable(graph: Graph, name: string, tensor: Tensor | undefined): void {
  const type = graph.values.get(name);
  if (!tensor)
    throw new FrostbitError("BAD_DATA", `Graph "${graph.name}" needs the variable "${name}", which has no value.`);
  if (type) checkShape(`Variable "${name}"`, type, tensor, new Map());
}
