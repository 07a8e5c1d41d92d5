// Units of real models: known blocks, and the same outputs unit by unit.
import { join } from "node:path";
import { expect, test } from "vitest";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { readModel } from "../../src/node/read-model.ts";
import { freeBatch } from "../../src/passes/free-batch.ts";
import { setBatchSize } from "../../src/passes/set-batch-size.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import { cutIntoUnits, unitKinds } from "../../src/units/units.ts";
import { describeWithData } from "../support/frostbit-data.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import { runUnits } from "../support/run-units.ts";

const read = async (...path: string[]): Promise<Graph> => freeBatch((await readModel(join(...path))).graph).graph;

function sampleOf(graph: Graph): ReadonlyMap<string, Tensor> {
  const random = createRandom(11);
  return new Map(
    graph.inputs.map((name) => {
      const { dtype = "float32", shape = [] } = graph.values.get(name) ?? {};
      const sizes = shape.map(Number);
      return [name, dtype === "int32" ? random.integerTensor(dtype, sizes, 0, 257) : random.tensor(dtype, sizes)];
    }),
  );
}

const files = [
  "mnist/mnist-8.onnx",
  "resnet_cifar10/resnet20.onnx",
  "onnx/squeezenet_cifar10.onnx",
  "onnx/yunet_n_320_320.onnx",
  "onnx/magika_standard_v3_3.onnx",
];

describeWithData("units of real models", (folder) => {
  test("ResNet-20 is a stem, nine residual blocks and a head", async () => {
    const units = cutIntoUnits(await read(folder, "resnet_cifar10/resnet20.onnx"), "block");
    const blocks = [1, 2, 3].flatMap((stage) => [0, 1, 2].map((block) => `layer${stage}.${block}`));
    expect(units.map(({ name }) => name)).toEqual(["conv1", ...blocks, "linear"]);
    for (const { name, layers, inputs, outputs } of units.slice(1, -1)) {
      expect(layers).toEqual([`${name}.conv1`, `${name}.conv2`]);
      expect(inputs).toHaveLength(1);
      expect(outputs).toEqual([`${name.replace(".", "_")}_r2`]);
    }
  });

  test("SqueezeNet's fire modules are a layer and a block of two", async () => {
    const units = cutIntoUnits(await read(folder, "onnx/squeezenet_cifar10.onnx"), "block");
    expect(units.map(({ layers }) => layers.length)).toEqual([1, 1, 2, 1, 2, 1, 2, 1]);
  });

  test("a detector is blocks down to where its heads branch off, and one of all that follows", async () => {
    const graph = await read(folder, "onnx/version-RFB-320.onnx");
    const sizes = cutIntoUnits(graph, "block").map(({ layers }) => layers.length);
    expect(sizes).toEqual([...Array.from({ length: 13 }, () => 1), 12, 27]);
  });

  test.each(files)("%s gives the same unit by unit as whole", async (path) => {
    const graph = await read(folder, path);
    const sized = setBatchSize(graph, 1);
    const inputs = sampleOf(sized);
    const expected = await runGraph(createReferenceEngine(), sized, inputs);
    // Parts leave out what is behind them.
    for (const kind of unitKinds.filter((each) => each !== "part")) {
      const units = cutIntoUnits(graph, kind);
      expect(units.flatMap(({ layers }) => layers)).toHaveLength(linearLayers(sized).length);
      expect(await runUnits(sized, units, inputs)).toEqual(expected);
    }
  });
});
