// A graph of one operator, and its inputs, from an example.
import { isFloat } from "../../src/ir/dtype.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { castTensor, type Tensor } from "../../src/ir/tensor.ts";
import { isOwn } from "../../src/ops/index.ts";
import { buildOn } from "../../src/ops/infer.ts";
import type { Example } from "../operators/examples/example.ts";

export interface Case {
  readonly graph: Graph;
  readonly inputs: ReadonlyMap<string, Tensor>;
}

export const cast = (dtype: "float32" | "float64") => (input: Tensor | undefined) =>
  input && isFloat(input.dtype) ? castTensor(input, dtype) : input;

/** Scalars that are floats stay constants, as quantizers' bounds are; what gives shapes too: scales, and integers but rows. */
export function caseOf({ op, inputs, attributes = {}, outputs = 1 }: Example, dtype: "float32" | "float64"): Case {
  const build = buildOn();
  const fed = new Map<string, Tensor>();
  const names = inputs.map(cast(dtype)).map((input, i) => {
    if (!input) return undefined;
    const isRows = isOwn(op) && input.dtype === "int64";
    const isBound = /^FakeQuantize/.test(op) && i >= inputs.length - 2 - Number(inputs.at(-1)?.dtype === "int64");
    const isScale = op === "Resize" && i > 0;
    if ((!isFloat(input.dtype) && !isRows) || (isBound && !isRows) || isScale)
      return build.constant(input, `input${i}`);
    fed.set(`input${i}`, input);
    const shape = isRows && input.shape.length > 0 ? ["rows"] : input.shape;
    return build.input(`input${i}`, { dtype: input.dtype, shape });
  });
  const results = build.nodes(
    op,
    names,
    Array.from({ length: outputs }, () => true),
    attributes,
  );
  return { graph: build.graph([...results]), inputs: fed };
}
