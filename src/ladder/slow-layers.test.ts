import { expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { tinyResidualNet } from "../../test/support/tiny-models.ts";
import { memoryDataset } from "../data/memory-dataset.ts";
import { resolvePreprocess } from "../data/preprocess.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { readOnnx } from "../onnx/read.ts";
import { runOptions } from "../options/recipe.ts";
import { openRun } from "../quantize/quantize-model.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import { endsOf, fastest, slowLayers } from "./slow-layers.ts";

test("shares of the layers from either end are tried, each once, and never all of them", () => {
  expect(endsOf(["a", "b", "c", "d"])).toEqual([
    ["a"],
    ["d"],
    ["a", "b"],
    ["c", "d"],
    ["a", "b", "c"],
    ["b", "c", "d"],
  ]);
  expect(endsOf(["a"])).toEqual([]);
});

test("what is hardly faster than integers throughout is not taken", () => {
  expect(fastest([1, 0.9, 0.8, 0.85])).toBe(2);
  expect(fastest([1, 0.98, 1.2])).toBe(0);
  expect(fastest([1])).toBe(0);
});

test("the share of the layers is found whose files are fastest", async () => {
  const model = readOnnx(tinyResidualNet({ size: 8 }), { name: "m.onnx" });
  const layers = linearLayers(model.graph).map(({ name }) => name);
  /** Takes a millisecond for each quantizer of the file. */
  const openSlowly: typeof openDeployed = async (bytes, options) => {
    const opened = await openDeployed(bytes, options);
    const { nodes } = readOnnx(bytes as Uint8Array, { name: "written" }).graph;
    const quantizers = nodes.filter(({ op }) => op === "QuantizeLinear").length;
    const run: typeof opened.run = async (...given) => {
      await new Promise((resolve) => setTimeout(resolve, 1 + quantizers));
      return opened.run(...given);
    };
    return { inputs: opened.inputs, outputs: opened.outputs, run, dispose: () => opened.dispose() };
  };
  const [input] = model.graph.inputs;
  const data = memoryDataset("drawn", new Map([[input, createRandom(1).tensor("float32", [16, 3, 8, 8])]]));
  const options = runOptions.parse({ quantize: {}, methods: ["ptq"] });
  const source = { train: data, test: data, heldOut: false };
  const job = { model, source, preprocess: resolvePreprocess("none"), options, openDeployed: openSlowly };
  const slow = await slowLayers(await openRun(job, { engine: createReferenceEngine(), seed: 0 }));
  expect(slow.length).toBe(Math.round(0.75 * layers.length));
  expect(endsOf(layers)).toContainEqual(slow);
});
