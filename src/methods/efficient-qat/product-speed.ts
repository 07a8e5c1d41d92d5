// How fast an engine multiplies here, with products as large as a decoder's.
import type { Engine, Program } from "../../engines/engine.ts";
import type { Graph } from "../../ir/graph.ts";
import { zeros } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import type { Context } from "../../run/context.ts";
import { trainingOptions, withProgram } from "../../run/with-program.ts";

const tokens = 1024;

/** Of one layer, from `inputs` to `outputs` numbers a token. */
export function productGraph(inputs: number, outputs: number): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [tokens, inputs] });
  const weight = build.constant(zeros("float32", [inputs, outputs]), "weight");
  // One number comes back, so that copying what was computed takes no time.
  const y = build.node("MatMul", [x, weight]);
  return build.graph([build.node("ReduceMean", [y], { keepdims: 0 }, "mean")]);
}

/** Multiply-adds in a second, in the precision of training: of the fastest of a few runs. */
export async function productSpeed(engine: Engine, inputs: number, outputs: number, threads?: number): Promise<number> {
  const { precisions } = engine;
  const context: Context = {
    engine,
    seed: 0,
    precision: precisions[precisions.length - 1],
    ...(threads === undefined ? {} : { threads }),
  };
  const measure = async (program: Program): Promise<number> => {
    const given = new Map([["x", zeros("float32", [tokens, inputs])]]);
    let least = Number.POSITIVE_INFINITY;
    for (let run = 0; run < 6; run++) {
      const start = performance.now();
      await program.run(given);
      least = Math.min(least, performance.now() - start);
    }
    return (tokens * inputs * outputs) / (least / 1000);
  };
  return withProgram(productGraph(inputs, outputs), context, measure, trainingOptions(context));
}
