// Odd but legal models from file to verified file, held against the float model in ONNX Runtime.
import { toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema } from "onnx-buf";
import { describe, expect, test } from "vitest";
import { memoryDataset } from "../../src/data/memory-dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { evaluateModel } from "../../src/evaluate/evaluate-model.ts";
import { inspectModel } from "../../src/inspect/inspect-model.ts";
import { FrostbitError } from "../../src/ir/errors.ts";
import { type Tensor, tensorOf, toNumbers } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { sqnr } from "../support/close.ts";
import {
  DataType,
  int,
  int64s,
  ints,
  modelBytes,
  modelProto,
  node,
  tensorProto,
  text,
  value,
  weights,
} from "../support/onnx-model.ts";
import { quantizeBytes } from "../support/quantize-bytes.ts";
import { createRandom } from "../support/random.ts";
import { runModel } from "../support/run-model.ts";

const random = createRandom(5);
const samples = (shape: readonly number[]): Tensor => random.tensor("float32", shape);
const randomWeights = (name: string, dims: readonly number[]) =>
  weights(name, dims, toNumbers(random.tensor("float32", dims)));
const batchOf = (x: Tensor, start: number, count: number): Tensor => {
  const size = x.data.length / x.shape[0];
  return tensorOf("float32", [count, ...x.shape.slice(1)], toNumbers(x).slice(start * size, (start + count) * size));
};

/** The SQNR of an output of `actual`, dB, over batches of `batch` samples. */
async function sqnrBetween(expected: Uint8Array, actual: Uint8Array, x: Tensor, output: string, batch: number) {
  const both: [number[], number[]] = [[], []];
  for (let start = 0; start < x.shape[0]; start += batch) {
    const inputs = new Map([["x", batchOf(x, start, batch)]]);
    for (const [i, bytes] of [expected, actual].entries()) {
      const result = (await runModel(bytes, inputs)).get(output);
      both[i].push(...toNumbers(result as Tensor));
    }
  }
  return sqnr(both[1], both[0]);
}

describe("models whose outputs are whole numbers", () => {
  const product = node("MatMul", ["x", "w"], ["scores"]);
  const initializers = [randomWeights("w", [4, 3]), int64s("two", [2])];
  test.each([
    ["a class", [product, node("ArgMax", ["scores"], ["y"], { axis: int(1) })], value("y", ["N", 1], DataType.INT64)],
    [
      "a class without an axis of its own",
      [product, node("ArgMax", ["scores"], ["y"], { axis: int(1), keepdims: int(0) })],
      value("y", ["N"], DataType.INT64),
    ],
    ["indices", [product, node("TopK", ["scores", "two"], ["values", "y"])], value("y", ["N", 2], DataType.INT64)],
    ["bytes", [product, node("Cast", ["scores"], ["y"], { to: int(2) })], value("y", ["N", 3], DataType.UINT8)],
    ["truth", [product, node("Greater", ["scores", "w0"], ["y"])], value("y", ["N", 3], DataType.BOOL)],
  ])("%s", async (_, nodes, output) => {
    const bytes = modelBytes({
      nodes,
      inputs: [value("x", ["N", 4])],
      outputs: [output],
      initializers: [...initializers, weights("w0", [1], [0])],
    });
    const x = tensorOf("float32", [64, 4], toNumbers(samples([64, 4])).map(Math.abs));
    const outcome = await quantizeBytes(bytes, new Map([["x", x]]));
    const [expected, actual] = await Promise.all(
      [bytes, outcome.bytes].map(async (file) =>
        toNumbers((await runModel(file, new Map([["x", x]]))).get("y") as Tensor),
      ),
    );
    const same = expected.filter((number, i) => number === actual[i]).length;
    expect(same / expected.length).toBeGreaterThan(0.9);
  });
});

describe("models with layers that have no elements", () => {
  const bytes = modelBytes({
    nodes: [
      node("MatMul", ["x", "none"], ["a"], {}, { name: "a" }),
      node("MatMul", ["x", "w"], ["b"], {}, { name: "b" }),
      node("Concat", ["a", "b"], ["y"], { axis: int(1) }),
    ],
    inputs: [value("x", ["N", 4])],
    outputs: [value("y", ["N", 3])],
    initializers: [randomWeights("none", [4, 0]), randomWeights("w", [4, 3])],
  });

  test("are inspected, and say that they are empty", () => {
    const { layers, notQuantizable } = inspectModel(readOnnx(bytes, { name: "m" }).graph);
    expect(layers.map(({ node }) => node)).toEqual(["b"]);
    expect(notQuantizable).toEqual([
      { node: "a", op: "MatMul", reason: 'its weight "none" has shape [4, 0]: it is empty' },
    ]);
  });
  test("are quantized without them", async () => {
    const x = samples([64, 4]);
    const outcome = await quantizeBytes(bytes, new Map([["x", x]]));
    expect(await sqnrBetween(bytes, outcome.bytes, x, "y", 64)).toBeGreaterThan(30);
  });
  test("and that take no samples are refused", async () => {
    const empty = modelBytes({
      nodes: [node("MatMul", ["x", "w"], ["y"])],
      inputs: [value("x", [0, 4])],
      initializers: [randomWeights("w", [4, 3])],
    });
    const error = await quantizeBytes(empty, new Map([["x", samples([8, 4])]])).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FrostbitError);
    expect((error as FrostbitError).message).toMatch(
      /takes 0 samples at a time.* input "x" has the shape \[0, 4\]: it is empty\./,
    );
  });
});

describe("Squeeze without axes", () => {
  const bytesOf = (opset: number, axes: readonly string[] = []): Uint8Array =>
    modelBytes({
      opset,
      nodes: [
        node("Conv", ["x", "w"], ["c"], { pads: ints([1, 1, 1, 1]) }),
        node("GlobalAveragePool", ["c"], ["g"]),
        node("Squeeze", ["g", ...axes], ["s"]),
        node("MatMul", ["s", "wl"], ["y"]),
      ],
      inputs: [value("x", ["N", 3, 8, 8])],
      outputs: [value("y", ["N", 4])],
      initializers: [
        randomWeights("w", [8, 3, 3, 3]),
        randomWeights("wl", [8, 4]),
        tensorProto({ name: "none", dataType: DataType.INT64, dims: [0n] }),
      ],
    });

  test.each([7, 11, 13, 17])("of opset %i keeps the batch, also of one sample", async (opset) => {
    const bytes = bytesOf(opset);
    const x = samples([65, 3, 8, 8]);
    const labels = tensorOf(
      "int64",
      [65],
      Array.from({ length: 65 }, (_, i) => i % 4),
    );
    const { bytes: quantized } = await quantizeBytes(bytes, new Map([["x", x]]), {}, labels);
    expect(await sqnrBetween(bytes, quantized, x, "y", 65)).toBeGreaterThan(25);
    const one = await runModel(quantized, new Map([["x", batchOf(x, 0, 1)]]));
    expect(one.get("y")?.shape).toEqual([1, 4]);
    const data = memoryDataset("samples", new Map([["x", x]]), labels);
    const float = await evaluateModel(await openDeployed(bytes, { threads: 1 }), data, {
      preprocess: resolvePreprocess("none"),
    });
    expect(float.samples).toBe(65);
    expect(float.classes).toBe(4);
  });
  test("with an empty list of axes is refused: what it means differs within ONNX Runtime", () => {
    expect(() => readOnnx(bytesOf(17, ["none"]), { name: "m" })).toThrow(/Squeeze .* its axes are an empty list/);
  });
});

describe("a batch written into Reshapes", () => {
  /** Attention over pixels as PyTorch exports it: sequence first, and all samples' rows in one Gemm. */
  const bytesOf = (batch: number): Uint8Array =>
    modelBytes({
      nodes: [
        node("Conv", ["x", "w"], ["c"]),
        node("Reshape", ["c", "pixels"], ["p"], {}, { name: "p" }),
        node("Transpose", ["p"], ["t"], { perm: ints([2, 0, 1]) }),
        node("MatMul", ["t", "wq"], ["q"], {}, { name: "q" }),
        node("Reshape", ["q", "heads"], ["h"], {}, { name: "h" }),
        node("Reshape", ["h", "rows"], ["r"], {}, { name: "r" }),
        node("Gemm", ["r", "wo"], ["o"]),
        node("Reshape", ["o", "sequence"], ["s"], {}, { name: "s" }),
        node("ReduceMean", ["s"], ["y"], { axes: ints([0]), keepdims: int(0) }),
      ],
      inputs: [value("x", [batch, 3, 6, 6])],
      outputs: [value("y", [batch, 4])],
      initializers: [
        randomWeights("w", [8, 3, 3, 3]),
        randomWeights("wq", [8, 8]),
        randomWeights("wo", [8, 4]),
        int64s("pixels", [batch, 8, 16]),
        int64s("heads", [16, 2 * batch, 4]),
        int64s("rows", [16 * batch, 8]),
        int64s("sequence", [16, batch, 4]),
      ],
    });

  test.each([1, 4])("of %i is calibrated, quantized and verified as it is", async (batch) => {
    const bytes = bytesOf(batch);
    const x = samples([42, 3, 6, 6]);
    const outcome = await quantizeBytes(bytes, new Map([["x", x]]));
    const whole = batchOf(x, 0, 42 - (42 % batch));
    expect(await sqnrBetween(bytes, outcome.bytes, whole, "y", batch)).toBeGreaterThan(30);
    expect(outcome.verification?.samples).toBe(42 - (42 % batch));
  });
  test("is refused by methods that train, which need many samples at once", async () => {
    const training = quantizeBytes(bytesOf(1), new Map([["x", samples([64, 3, 6, 6])]]), {
      methods: [{ qat: { loss: "mse" } }],
    });
    await expect(training).rejects.toThrow(/takes 1 sample at a time.*qat trains on many at once/);
  });
  test("is refused with fewer samples than it takes", async () => {
    const few = quantizeBytes(bytesOf(4), new Map([["x", samples([3, 3, 6, 6])]]));
    await expect(few).rejects.toThrow(/has 3 samples, and the model takes 4 at a time/);
  });
});

describe("what ONNX Runtime fused", () => {
  test("is quantized, in the opset that its operators need", async () => {
    const conv = { pads: ints([1, 1, 1, 1]) };
    const model = modelProto({
      opset: 13,
      nodes: [
        node("FusedConv", ["x", "w"], ["c"], { ...conv, activation: text("Relu") }, { domain: "com.microsoft" }),
        node("Gelu", ["c"], ["e"], {}, { domain: "com.microsoft" }),
        node("GlobalAveragePool", ["e"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("MatMul", ["f", "wl"], ["y"]),
      ],
      inputs: [value("x", ["N", 3, 8, 8])],
      outputs: [value("y", ["N", 4])],
      initializers: [randomWeights("w", [8, 3, 3, 3]), randomWeights("wl", [8, 4])],
    });
    model.opsetImport.push({ $typeName: "onnx.OperatorSetIdProto", domain: "com.microsoft", version: 1n });
    const bytes = toBinary(ModelProtoSchema, model);
    const x = samples([64, 3, 8, 8]);
    const outcome = await quantizeBytes(bytes, new Map([["x", x]]));
    expect(await sqnrBetween(bytes, outcome.bytes, x, "y", 64)).toBeGreaterThan(25);
    expect(readOnnx(outcome.bytes, { name: "m" }).origin.opset).toBe(20);
  });
});
