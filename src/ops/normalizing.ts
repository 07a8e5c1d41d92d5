// What the normalizations share: their parameters, and standardizing with its way back.
import type { Builder } from "../ir/builder.ts";
import type { Dim, Node, ValueType } from "../ir/graph.ts";
import { arithmetic } from "./arithmetic.ts";
import { mismatch, numberAttribute, printShape } from "./attributes.ts";
import type { InferContext } from "./definition.ts";

export const epsilonOf = (node: Node): number => numberAttribute(node, "epsilon", 1e-5);

/** Throws unless every input from 1 on has one element per channel. */
export function checkChannels({ node, inputs }: InferContext, x: ValueType): Dim {
  const channels = x.shape[1];
  if (channels === undefined) throw mismatch(node, `its input is ${printShape(x.shape)}; expected at least 2 axes.`);
  for (const [i, type] of inputs.entries()) {
    if (i === 0 || type === undefined) continue;
    const isKnown = typeof channels === "number" && typeof type.shape[0] === "number";
    if (type.shape.length !== 1 || (isKnown && type.shape[0] !== channels))
      throw mismatch(node, `input "${node.inputs[i]}" is ${printShape(type.shape)}; expected [${channels}].`);
  }
  return channels;
}

/** A value with one element per channel, shaped to multiply x. */
export function perChannel(build: Builder, value: string, x: string): string {
  const rank = build.type(x).shape.length;
  const channels = build.type(value).shape[0];
  const shape = Array.from({ length: rank }, (_, axis) =>
    axis === 1 ? (typeof channels === "number" ? channels : -1) : 1,
  );
  return build.node("Reshape", [value, build.ints(shape)]);
}

export interface Standardized {
  readonly normalized: string;
  readonly inverse: string;
}

/** (x − mean) / √(variance + ε) over `axes`. */
export function standardize(build: Builder, x: string, axes: readonly number[], epsilon: number): Standardized {
  const { add, sub, mul, div, call, of } = arithmetic(build, x);
  const meanOf = (value: string): string => build.node("ReduceMean", [value, build.ints(axes)], { keepdims: 1 });
  const centred = sub(x, meanOf(x));
  const inverse = div(of(1), call("Sqrt", add(meanOf(mul(centred, centred)), of(epsilon))));
  return { normalized: mul(centred, inverse), inverse };
}

/** dx = r (g − mean(g) − x̂ mean(g x̂)), where g is the gradient of x̂ */
export function standardizedGradient(
  build: Builder,
  g: string,
  { normalized, inverse }: Standardized,
  axes: readonly number[],
): string {
  const { sub, mul } = arithmetic(build, g);
  const meanOf = (value: string): string => build.node("ReduceMean", [value, build.ints(axes)], { keepdims: 1 });
  return mul(inverse, sub(sub(g, meanOf(g)), mul(normalized, meanOf(mul(g, normalized)))));
}
