// The real files: read, written, and run in ONNX Runtime against the originals.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { OnnxModel } from "../../src/ir/graph.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { readModel } from "../../src/node/read-model.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { freeBatch } from "../../src/passes/free-batch.ts";
import { expectClose } from "../support/close.ts";
import { createRandom } from "../support/random.ts";
import { runModel } from "../support/run-model.ts";

const data = process.env["FROSTBIT_DATA"];
if (!data) console.warn("FROSTBIT_DATA is not set: the tests of real models are skipped.");

/** Two convolution algorithms may be chosen for one file and its copy. */
const widen = { factor: 5, because: "1e-5: rewritten graphs may run other kernels" };

interface RealModel {
  readonly path: string;
  /** Fixed batches that must come free. */
  readonly batch: "free" | "freed";
}

const models: Readonly<Record<string, RealModel>> = {
  "mnist-8": { path: "mnist/mnist-8.onnx", batch: "freed" },
  resnet20: { path: "resnet_cifar10/resnet20.onnx", batch: "free" },
  resnet56: { path: "resnet_cifar10/resnet56.onnx", batch: "free" },
  squeezenet: { path: "onnx/squeezenet_cifar10.onnx", batch: "free" },
  "super-resolution": { path: "onnx/super_resolution.onnx", batch: "free" },
  yunet: { path: "onnx/yunet_n_320_320.onnx", batch: "freed" },
  "RFB-320": { path: "onnx/version-RFB-320.onnx", batch: "freed" },
  magika: { path: "onnx/magika_standard_v3_3.onnx", batch: "free" },
};

function randomInputs({ graph }: OnnxModel, batch: number): ReadonlyMap<string, Tensor> {
  const random = createRandom(1);
  return new Map(
    graph.inputs.map((name) => {
      const { dtype = "float32", shape = [] } = graph.values.get(name) ?? {};
      const sizes = shape.map((size) => (typeof size === "number" ? size : batch));
      return [name, dtype === "int32" ? random.integerTensor(dtype, sizes, 0, 257) : random.tensor(dtype, sizes)];
    }),
  );
}

async function expectSameOutputs(
  actual: Uint8Array,
  expected: ReadonlyMap<string, Tensor>,
  inputs: ReadonlyMap<string, Tensor>,
) {
  const outputs = await runModel(actual, inputs);
  expect([...outputs.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [name, tensor] of expected) expectClose(outputs.get(name) as Tensor, tensor, { what: name, widen });
}

describe.skipIf(!data)("real models", () => {
  for (const [name, { path, batch }] of Object.entries(models)) {
    const file = join(data ?? "", path);
    describe.skipIf(!existsSync(file))(name, () => {
      test("read and written, in the original's opset and in the newest, it computes the same", async () => {
        const model = readModel(file);
        const inputs = randomInputs(model, 1);
        const expected = await runModel(readFileSync(file), inputs);
        for (const opset of [model.origin.opset, 13, 17, 21, 24, 25])
          if (opset >= model.origin.opset) await expectSameOutputs(writeOnnx(model, { opset }), expected, inputs);
      });
      test("writing what was read and reading it again changes nothing", () => {
        const { graph } = readModel(file);
        const again = readOnnx(writeOnnx({ ...readModel(file) }, { opset: 24 }), { name });
        expect(again.graph.nodes).toEqual(graph.nodes);
        expect([...again.graph.constants.keys()].sort()).toEqual([...graph.constants.keys()].sort());
        for (const [key, { data: values }] of graph.constants)
          expect(again.graph.constants.get(key)?.data).toEqual(values);
        expect(again.graph.inputs).toEqual(graph.inputs);
        expect(again.graph.outputs).toEqual(graph.outputs);
      });
      test(`its batch is ${batch}, and two samples at once give what each gives alone`, async () => {
        const model = readModel(file);
        const result = freeBatch(model.graph);
        if (batch === "free") expect(result.reason).toMatch(/free leading size/);
        else expect(result.reason).toBeUndefined();
        const free = { ...model, graph: result.graph };
        for (const output of free.graph.outputs) expect(free.graph.values.get(output)?.shape[0]).toBeTypeOf("string");
        const inputs = randomInputs(free, 2);
        const both = await runModel(writeOnnx(free, { opset: model.origin.opset }), inputs);
        for (const sample of [0, 1]) {
          const single = await runModel(
            readFileSync(file),
            new Map([...inputs].map(([key, t]) => [key, slice(t, sample)])),
          );
          for (const [key, tensor] of single)
            expectClose(slice(both.get(key) as Tensor, sample), tensor, { what: key, widen });
        }
      });
    });
  }
});

/** One sample of a batch of two. */
function slice({ dtype, shape, data: values }: Tensor, sample: number): Tensor {
  const size = values.length / 2;
  return {
    dtype,
    shape: [1, ...shape.slice(1)],
    data: values.slice(sample * size, (sample + 1) * size) as Tensor["data"],
  };
}
