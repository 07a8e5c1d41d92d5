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

test("values that do not fit into memory together are compared group by group, each as before", async () => {
  const large = (shift: number) => {
    const build = buildOn();
    const one = build.node("Cast", [build.input("x", { dtype: "float32", shape: ["batch", 1] })], { to: "float64" });
    const x = build.node("Expand", [one, build.ints([1, 6 * 2 ** 20])]);
    const values = [1, 2, 3, 4, 5, 6].map((i) => build.node("Mul", [x, build.constant(scalar("float64", i + shift))]));
    const sums = values.map((value) => build.node("ReduceMean", [value, build.ints([1])]));
    return build.graph([build.node("Sum", sums)]);
  };
  const graph = large(0);
  const fetched: number[] = [];
  const { values } = await compareModels(
    encodeGraph(graph),
    encodeGraph(large(1)),
    memoryDataset("one", new Map([["x", tensorOf("float32", [1, 1], [1])]])),
    {
      preprocess: resolvePreprocess("none"),
      graph,
      open: async (bytes) => {
        const file = await openDeployed(bytes, { threads: 1 });
        return {
          ...file,
          run: async (inputs, names) => {
            const outputs = await file.run(inputs, names);
            fetched.push([...outputs.values()].reduce((sum, { data }) => sum + data.byteLength, 0));
            return outputs;
          },
        };
      },
    },
  );
  expect(fetched).toHaveLength(4);
  expect(Math.max(...fetched)).toBeLessThanOrEqual(2 ** 28);
  expect(values).toHaveLength(15);
  // The i-th value is i, and in the second model one more.
  expect(values.slice(2, 8).map(({ sqnrDb }) => sqnrDb)).toEqual(
    [1, 2, 3, 4, 5, 6].map((i) => expect.closeTo(20 * Math.log10(i), 4)),
  );
});
