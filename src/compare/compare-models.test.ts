import { expect, test } from "vitest";
import { memoryDataset } from "../data/memory-dataset.ts";
import { resolvePreprocess } from "../data/preprocess.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { encodeGraph } from "../engines/onnxruntime/encode-graph.ts";
import { scalar, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { compareModels } from "./compare-models.ts";

/** y = x + `shift`, for so many samples at once. */
function model(batch: number | string, shift: number): Uint8Array {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [batch, 1] });
  const y = build.node("Add", [x, build.constant(scalar("float32", shift))]);
  return encodeGraph(build.graph([y]));
}

test.each(["batch", 4])("with a batch of %s, every sample counts once", async (batch) => {
  const dataset = memoryDataset("five", new Map([["x", tensorOf("float32", [5, 1], [1, 1, 1, 1, 10])]]));
  const { values, samples } = await compareModels(model(batch, 0), model(batch, 1), dataset, {
    preprocess: resolvePreprocess("none"),
    open: (bytes) => openDeployed(bytes, { threads: 1 }),
  });
  expect(samples).toBe(5);
  expect(values.map(({ sqnrDb }) => sqnrDb)).toEqual([expect.closeTo(10 * Math.log10(104 / 5), 5)]);
});
