import { describe, expect, test } from "vitest";
import { isNativeBuilt } from "../../test/support/native.ts";
import type { Batch } from "../data/batches.ts";
import { memoryStorage } from "../data/storage.ts";
import { createNativeEngine } from "../engines/native/native-engine.ts";
import { createOnnxRuntimeEngine } from "../engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Builder } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";
import { tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { trainingOptions } from "./options.ts";
import { trainByPlan } from "./train-by-plan.ts";

const engines = {
  reference: createReferenceEngine,
  onnxruntime: createOnnxRuntimeEngine,
  native: isNativeBuilt ? createNativeEngine : createReferenceEngine,
};

/** x [N, 3] → a = xW, then what `head` makes of it. */
function modelOf(head: (build: Builder, a: string) => string, weights = [1, 0.5, -1, 0.25, 2, -0.5]): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 3] });
  const a = build.node("MatMul", [x, build.constant(tensorOf("float32", [3, 2], weights), "w")], {}, "product");
  return build.graph([head(build, a)]);
}

/** From batch `zeros` on, a sample of zeros: there a is 0. */
async function* batchesFrom(start: number, zeros: number): AsyncGenerator<Batch> {
  for (let index = start; ; index++) {
    const rows = Array.from({ length: 12 }, (_, i) => (index >= zeros && i < 3 ? 0 : 0.5 + ((i * 7 + index) % 5)));
    yield {
      index,
      indices: Int32Array.of(0, 1, 2, 3),
      inputs: new Map([["x", tensorOf("float32", [4, 3], rows)]]),
      target: tensorOf("float32", [4, 2], new Float32Array(8)),
    };
  }
}

interface Trial {
  readonly engine: keyof typeof engines;
  readonly model: Graph;
  readonly zeros: number;
  readonly options?: object;
  readonly storage?: ReturnType<typeof memoryStorage>;
}

const train = ({ engine, model, zeros, options = {}, storage }: Trial) =>
  trainByPlan(
    {
      model,
      options: trainingOptions.parse({ loss: "mse", batch: 4, lr: 1e-3, checkpointEvery: 2, ...options }),
      plan: { refreshEvery: Number.POSITIVE_INFINITY, select: () => new Map() },
      steps: 8,
      batches: (start) => batchesFrom(start, zeros),
      ...(storage && { checkpoints: { storage, fingerprint: "f", resume: false } }),
    },
    { engine: engines[engine](), seed: 0, threads: 1 },
  );

const length = (build: Builder, a: string): string => build.node("Sqrt", [build.node("Mul", [a, a])], {}, "length");

describe.each(["reference", "onnxruntime", "native"] as const)(
  "on the engine %s, a run that diverges names",
  (engine) => {
    test("the operator whose gradient is infinite, and no learning rate", async () => {
      const failed = train({ engine, model: modelOf(length), zeros: 5 });
      await expect(failed).rejects.toThrow(
        /The first value that is not finite is in the gradient of Sqrt \(node "length"\)/,
      );
      await expect(failed).rejects.toThrow(/at any learning rate: keep what it reads away from that/);
      await expect(failed).rejects.not.toThrow(/--lr/);
    });

    test("the same after a checkpoint, and with micro-batches", async () => {
      const storage = memoryStorage();
      const failed = train({ engine, model: modelOf(length), zeros: 5, options: { accumulate: 2 }, storage });
      await expect(failed).rejects.toThrow(/in the gradient of Sqrt \(node "length"\).*The checkpoint, of step 4,/);
    });

    test("the operator whose value is not finite", async () => {
      const model = modelOf((build, a) => build.node("Log", [build.node("Abs", [a])], {}, "logarithm"));
      await expect(train({ engine, model, zeros: 3 })).rejects.toThrow(
        /^Loss became (Infinity|NaN) at step 3 of 8 \(learning rate 0\.001\)\. The first value that is not finite is in Log \(node "logarithm"\): it gives infinity from 0 to /,
      );
    });

    test("the learning rate, where values grew", async () => {
      const failed = train({
        engine,
        model: modelOf((build, a) => build.node("Mul", [a, a])),
        zeros: 9,
        options: { lr: 1e5 },
      });
      await expect(failed).rejects.toThrow(
        /The first value that is not finite is in .* Start again with a lower --lr\./,
      );
    });
  },
);

test("infinities that do no harm are not named", async () => {
  const model = modelOf((build, a) => {
    const hidden = build.constant(tensorOf("float32", [2, 2], [0, Number.NEGATIVE_INFINITY, 0, 0]), "mask");
    const scores = build.node("MatMul", [a, build.constant(tensorOf("float32", [2, 2], [1, 0, 0, 1]), "v")]);
    const masked = build.node("Add", [scores, build.node("Gather", [hidden, build.ints([1])], { axis: 0 })]);
    return build.node("Mul", [build.node("Softmax", [masked], { axis: -1 }), length(build, a)]);
  });
  await expect(train({ engine: "reference", model, zeros: 2 })).rejects.toThrow(
    /the gradient of Sqrt \(node "length"\)/,
  );
});
