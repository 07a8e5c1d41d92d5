// One transformer encoder layer, the mean over the sequence and a classifier: the second model of the step benches.
import type { Builder } from "../../src/ir/builder.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { filled, uniform } from "./tensors.ts";

export interface EncoderSizes {
  readonly hidden: number;
  readonly heads: number;
  readonly sequence: number;
  readonly inner: number;
}

const encoderSizes: EncoderSizes = { hidden: 768, heads: 12, sequence: 384, inner: 3072 };

/** Input `x` [batch, sequence, hidden], output the scores [batch, 10]. Weights are random and seeded. */
export function encoderLayer({ hidden, heads, sequence, inner }: EncoderSizes = encoderSizes): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["batch", sequence, hidden] });
  const heading = build.ints([0, sequence, heads, hidden / heads]);
  const split = (name: string, order: readonly number[]): string =>
    build.node("Transpose", [build.node("Reshape", [linear(build, x, name, hidden, hidden), heading])], {
      perm: order,
    });
  const [query, key, value] = [split("query", [0, 2, 1, 3]), split("key", [0, 2, 3, 1]), split("value", [0, 2, 1, 3])];
  const scores = build.node("Mul", [build.node("MatMul", [query, key]), build.scalar((hidden / heads) ** -0.5)]);
  const context = build.node("MatMul", [build.node("Softmax", [scores], { axis: -1 }), value]); // [batch, heads, sequence, width]
  const joined = build.node("Reshape", [
    build.node("Transpose", [context], { perm: [0, 2, 1, 3] }),
    build.ints([0, sequence, hidden]),
  ]);
  const attended = normalized(build, build.node("Add", [x, linear(build, joined, "out", hidden, hidden)]), "norm1");
  const active = build.node("Gelu", [linear(build, attended, "inner", hidden, inner)]);
  const sum = build.node("Add", [attended, linear(build, active, "outer", inner, hidden)]);
  const mean = build.node("ReduceMean", [normalized(build, sum, "norm2"), build.ints([1])], { keepdims: 0 });
  return build.graph([linear(build, mean, "classifier", hidden, 10)], "encoder layer");
}

function linear(build: Builder, x: string, name: string, inputs: number, outputs: number): string {
  const weight = build.constant(uniform([inputs, outputs], inputs ** -0.5, outputs), `${name}.weight`);
  const bias = build.constant(uniform([outputs], inputs ** -0.5, inputs), `${name}.bias`);
  return build.node("Add", [build.node("MatMul", [x, weight], {}, name), bias]);
}

function normalized(build: Builder, x: string, name: string): string {
  const size = Number(build.type(x).shape.at(-1));
  const [scale, bias] = [1, 0].map((value) => filled([size], value));
  const inputs = [x, build.constant(scale, `${name}.scale`), build.constant(bias, `${name}.bias`)];
  return build.node("LayerNormalization", inputs, { axis: -1, epsilon: 1e-5 }, name);
}
