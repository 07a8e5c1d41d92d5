// A pass through a layer of inputs and targets that are given.
import { partOf } from "../../src/data/batches.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import type { LayerPass } from "../../src/rounding/layer-pass.ts";

/** Batch after batch. */
export function passOf(xs: readonly Tensor[], ts: readonly Tensor[]): LayerPass {
  return {
    graph: (samples) => {
      const build = buildOn();
      const [x, t] = [xs, ts].map((all, i) => {
        const { dtype, shape } = all[0];
        return build.input(["x", "t"][i], { dtype, shape: [samples, ...shape.slice(1)] });
      });
      return { graph: build.graph([]), x, t };
    },
    batches: async function* (part) {
      const [first, end] = partOf(xs.length, part);
      for (let i = first; i < end; i++) {
        const x = xs[i];
        const inputs = new Map([
          ["x", x],
          ["t", ts[i]],
        ]);
        yield { samples: x.shape[0], inputs, spare: new Map(), take: () => undefined };
      }
    },
  };
}
