// Models whose inputs are bytes, whole numbers or doubles: given the stored samples where these hold them, else refused before any work.
import { describe, expect, test } from "vitest";
import { type Preprocess, resolvePreprocess } from "../../src/data/preprocess.ts";
import { type Tensor, tensorOf, toNumbers } from "../../src/ir/tensor.ts";
import { sqnr } from "../support/close.ts";
import { DataType, int, ints, modelBytes, node, tensorProto, value, weights } from "../support/onnx-model.ts";
import { quantizeBytes } from "../support/quantize-bytes.ts";
import { createRandom } from "../support/random.ts";
import { runModel } from "../support/run-model.ts";

const random = createRandom(9);
const drawn = (name: string, dims: readonly number[]) => weights(name, dims, toNumbers(random.tensor("float32", dims)));
const count = 32;
/** Of the written file, at what ONNX Runtime gives for the model as it is, in dB. */
async function kept(bytes: Uint8Array, samples: Tensor, given: Tensor, preprocess?: Preprocess): Promise<number> {
  const outcome = await quantizeBytes(bytes, new Map([["x", samples]]), {}, undefined, preprocess);
  const [expected, actual] = await Promise.all(
    [bytes, outcome.bytes].map(async (file) => (await runModel(file, new Map([["x", given]]))).get("y") as Tensor),
  );
  return sqnr(toNumbers(actual), toNumbers(expected));
}

describe("a model of bytes", () => {
  const network = (layout: "nchw" | "nhwc"): Uint8Array =>
    modelBytes({
      nodes: [
        node("Cast", ["x"], ["f"], { to: int(1) }),
        ...(layout === "nhwc" ? [node("Transpose", ["f"], ["planes"], { perm: ints([0, 3, 1, 2]) })] : []),
        node("Conv", [layout === "nhwc" ? "planes" : "f", "w"], ["y"]),
      ],
      inputs: [value("x", layout === "nhwc" ? ["N", 6, 6, 3] : ["N", 3, 6, 6], DataType.UINT8)],
      outputs: [value("y", ["N", 4, 4, 4])],
      initializers: [drawn("w", [4, 3, 3, 3])],
    });

  test("gets the bytes of pictures, not floats", async () => {
    const x = random.integerTensor("uint8", [count, 3, 6, 6], 0, 256);
    expect(await kept(network("nchw"), x, x)).toBeGreaterThan(35);
  });
  test("gets them in its layout", async () => {
    const x = random.integerTensor("uint8", [count, 6, 6, 3], 0, 256);
    const preprocess = resolvePreprocess("none", { layout: "nhwc" });
    expect(await kept(network("nhwc"), x, x, preprocess)).toBeGreaterThan(35);
  });
  test("refuses what preprocessing makes of them, and says so", async () => {
    const x = random.integerTensor("uint8", [count, 3, 6, 6], 0, 256);
    await expect(kept(network("nchw"), x, x, resolvePreprocess("unit"))).rejects.toThrow(
      /is uint8 \[N, 3, 6, 6\]; .* gives float32 \[batch, 3, 6, 6\]\. The model takes what is stored/,
    );
  });
});

test("indices of 32 bits are given to a model that takes 64, and not the other way round", async () => {
  const lookup = (type: DataType): Uint8Array =>
    modelBytes({
      nodes: [
        node("Gather", ["table", "x"], ["rows"]),
        node("Flatten", ["rows"], ["flat"]),
        node("MatMul", ["flat", "w"], ["y"]),
      ],
      inputs: [value("x", ["N", 3], type)],
      outputs: [value("y", ["N", 4])],
      initializers: [drawn("table", [20, 8]), drawn("w", [24, 4])],
    });
  const narrow = random.integerTensor("int32", [count, 3], 0, 20);
  const wide = tensorOf("int64", [count, 3], toNumbers(narrow));
  expect(await kept(lookup(DataType.INT64), narrow, wide)).toBeGreaterThan(30);
  await expect(kept(lookup(DataType.INT32), wide, narrow)).rejects.toThrow(
    /is int32 \[N, 3\]; .* gives int64 \[batch, 3\]\. Save the samples as int32/,
  );
});

test("layers of doubles are refused before any work: ONNX Runtime has no quantizers of them", async () => {
  const bytes = modelBytes({
    nodes: [node("Cast", ["w"], ["wide"], { to: int(11) }), node("MatMul", ["x", "wide"], ["y"], {}, { name: "last" })],
    inputs: [value("x", ["N", 4], DataType.DOUBLE)],
    outputs: [value("y", ["N", 3], DataType.DOUBLE)],
    initializers: [drawn("w", [4, 3])],
  });
  const x = random.tensor("float64", [count, 4]);
  await expect(kept(bytes, x, x)).rejects.toThrow('1 layer of the model computes in float64 ("last")');
});

test("a model that is quantized dynamically is refused before any work", async () => {
  const bytes = modelBytes({
    nodes: [
      node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
      node("MatMulInteger", ["q", "w", "zero"], ["product"], {}, { name: "product" }),
      node("Cast", ["product"], ["f"], { to: int(1) }),
      node("Mul", ["f", "scale"], ["y"]),
    ],
    inputs: [value("x", ["N", 4])],
    outputs: [value("y", ["N", 3])],
    initializers: [
      tensorProto({
        name: "w",
        dims: [4n, 3n],
        dataType: DataType.INT8,
        int32Data: [1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12],
      }),
    ],
  });
  const x = random.tensor("float32", [count, 4]);
  await expect(kept(bytes, x, x)).rejects.toThrow(/quantizes "product.*" as it runs.*Give the float model/);
});
