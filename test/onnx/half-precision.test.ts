// Models in half precision: computed in float32, written back in their type.
import { describe, expect, test } from "vitest";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { type HalfType, narrowTensor, widenTensor } from "../../src/ir/half.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { dtypeCode } from "../../src/onnx/data-types.ts";
import { decodeModel } from "../../src/onnx/decode-model.ts";
import { encodeTensor } from "../../src/onnx/encode-tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { roundHalf } from "../../src/passes/half-precision.ts";
import { expectClose } from "../support/close.ts";
import { float, int, ints, modelBytes, node, value } from "../support/onnx-model.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import { runModel } from "../support/run-model.ts";

const random = createRandom(61);
const engine = createReferenceEngine();

/** A convolution in half precision, a normalization that the exporter keeps in float32, and a Gemm in half precision. */
function halfModel(dtype: HalfType) {
  const half = dtypeCode(dtype);
  const constants = new Map<string, Tensor>([
    ["w", narrowTensor(random.tensor("float32", [4, 3, 3, 3]), dtype)],
    ["scale", random.uniformTensor("float32", [4], 0.5, 2)],
    ["bias", random.tensor("float32", [4])],
    ["head", narrowTensor(random.tensor("float32", [4, 5]), dtype)],
    ["offset", narrowTensor(random.tensor("float32", [5]), dtype)],
  ]);
  const bytes = modelBytes({
    opset: 17,
    inputs: [value("x", ["N", 3, 6, 6], half)],
    outputs: [value("y", ["N", 5], half)],
    initializers: [...constants].map(([name, tensor]) => encodeTensor(name, tensor)),
    nodes: [
      node("Conv", ["x", "w"], ["a"], { pads: ints([1, 1, 1, 1]) }),
      node("Cast", ["a"], ["b"], { to: int(dtypeCode("float32")) }, { name: "up" }),
      node("InstanceNormalization", ["b", "scale", "bias"], ["c"], { epsilon: float(1e-3) }),
      node("Cast", ["c"], ["d"], { to: int(half) }, { name: "down" }),
      node("Relu", ["d"], ["e"]),
      node("GlobalMaxPool", ["e"], ["f"]),
      node("Flatten", ["f"], ["g"]),
      node("Gemm", ["g", "head", "offset"], ["y"]),
    ],
  });
  return { bytes, constants };
}

describe.each<HalfType>(["float16", "bfloat16"])("a model in %s", (dtype) => {
  const { bytes, constants } = halfModel(dtype);
  const x = random.tensor("float32", [2, 3, 6, 6]);

  test("is float32 once it is read", () => {
    const { graph, origin } = readOnnx(bytes, { name: "half.onnx" });
    expect(new Set([...graph.values.values()].map((type) => type.dtype))).toEqual(new Set(["float32"]));
    expect(new Map(origin.half)).toEqual(new Map(["x", "y", "w", "head", "offset"].map((name) => [name, dtype])));
  });

  test("is written with the same types, names and bits", () => {
    const model = readOnnx(bytes, { name: "half.onnx" });
    const { graph, declared } = decodeModel(writeOnnx(model, { opset: 17 }), "model.onnx", undefined);
    expect(graph.values.get("x")).toEqual({ dtype, shape: ["N", 3, 6, 6] });
    expect(declared.get("y")).toEqual({ dtype, shape: ["N", 5] });
    for (const [name, tensor] of constants) expect(graph.constants.get(name)).toEqual(tensor);
    const again = readOnnx(writeOnnx(model, { opset: 17 }), { name: "again.onnx" });
    expect(again.origin.half).toEqual(model.origin.half);
  });

  // ONNX Runtime's JavaScript interface takes no bfloat16.
  test.skipIf(dtype === "bfloat16")(
    "gives in ONNX Runtime what the reference engine computes in float32, fed with float32",
    async () => {
      const model = readOnnx(bytes, { name: "half.onnx" });
      const rounded = widenTensor(narrowTensor(x, dtype));
      const expected = await runGraph(engine, model.graph, new Map([["x", rounded]]));
      const file = await openDeployed(writeOnnx(model, { opset: 17 }), { threads: 1 });
      try {
        expect(file.inputs.get("x")?.dtype).toBe("float32");
        const actual = await file.run(new Map([["x", x]]));
        expectClose(actual.get("y") as Tensor, expected.get("y") as Tensor, { as: dtype });
      } finally {
        await file.dispose();
      }
    },
  );

  test("has its trained constants rounded as the file will have them", () => {
    const { graph, origin } = readOnnx(bytes, { name: "half.onnx" });
    const moved = { ...graph, constants: new Map(graph.constants).set("head", random.tensor("float32", [4, 5])) };
    const rounded = roundHalf(moved, origin.half ?? new Map());
    const written = decodeModel(writeOnnx({ graph: rounded, origin }, { opset: 17 }), "model.onnx", undefined).graph
      .constants;
    expect(widenTensor(written.get("head") as Tensor)).toEqual(rounded.constants.get("head"));
    expect(rounded.constants.get("scale")).toBe(graph.constants.get("scale"));
  });
});

test("a float16 model that ONNX Runtime runs itself agrees with what we make of it", async () => {
  const { bytes } = halfModel("float16");
  const x = narrowTensor(random.tensor("float32", [2, 3, 6, 6]), "float16");
  const expected = await runModel(bytes, new Map([["x", x]]));
  const model = readOnnx(bytes, { name: "half.onnx" });
  const actual = await runGraph(engine, model.graph, new Map([["x", widenTensor(x)]]));
  expectClose(actual.get("y") as Tensor, widenTensor(expected.get("y") as Tensor), {
    as: "float16",
    widen: { factor: 4, because: "the model itself rounds every value to float16" },
  });
});
