// A model whose channels differ by powers of ten is equalized without being asked.
import { expect, test } from "vitest";
import { memoryDataset } from "../../src/data/memory-dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { sizeOf, tensorOf } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { runOptions } from "../../src/options/recipe.ts";
import { quantizeModel } from "../../src/quantize/quantize-model.ts";
import { origin } from "../support/export-quantized.ts";
import { createRandom } from "../support/random.ts";

/** Two convolutions: the channels between them are `spread`, which the second undoes. */
function twoConvolutions(spread: readonly number[]): Graph {
  const random = createRandom(21);
  const build = buildOn();
  const channels = spread.length;
  const scaled = (shape: readonly number[], by: (i: number) => number): string =>
    build.constant(
      tensorOf(
        "float32",
        shape,
        Array.from({ length: sizeOf(shape) }, (_, i) => random.normal() * by(i)),
      ),
    );
  const x = build.input("x", { dtype: "float32", shape: ["N", 3, 6, 6] });
  const weight = scaled([channels, 3, 3, 3], (i) => 0.2 * spread[Math.floor(i / 27)]);
  const first = build.node(
    "Conv",
    [x, weight, scaled([channels], (i) => 0.1 * spread[i])],
    { pads: [1, 1, 1, 1] },
    "first",
  );
  const second = scaled([4, channels, 1, 1], (i) => 0.5 / spread[i % channels]);
  return build.graph([build.node("Conv", [build.node("Relu", [first]), second], {}, "y")]);
}

async function quantized(spread: readonly number[], placement: "inputs" | "runtime") {
  const data = (seed: number) =>
    memoryDataset("noise", new Map([["x", createRandom(seed).tensor("float32", [16, 3, 6, 6])]]));
  const notes: string[] = [];
  const { fidelity } = await quantizeModel(
    {
      model: { graph: twoConvolutions(spread), origin },
      source: { train: data(1), test: data(2), heldOut: false },
      preprocess: resolvePreprocess("none"),
      options: runOptions.parse({ quantize: { placement } }),
      openDeployed: (file) => openDeployed(file, { threads: 1 }),
    },
    { engine: createReferenceEngine(), seed: 0, onNote: (note) => /equalized/.test(note) && notes.push(note) },
  );
  return { sqnrDb: fidelity?.get("deployed")?.[0].sqnrDb, notes };
}

test.each(["inputs", "runtime"] as const)("placement %s", async (placement) => {
  const even = await quantized([1, 2, 1, 0.5, 1, 1], placement);
  const uneven = await quantized([1e-6, 1e-4, 1e-2, 1, 1e2, 1e4], placement);
  expect(even.notes).toEqual([]);
  expect(uneven.notes).toEqual([expect.stringContaining("the layers were equalized first")]);
  expect(even.sqnrDb).toBeGreaterThan(35);
  expect(uneven.sqnrDb).toBeGreaterThan(35);
});
