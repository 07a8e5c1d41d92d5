// Models that are quantized already: what we exported, and what other tools write, read back as quantizers that train.
import { describe, expect, test } from "vitest";
import type { Dataset } from "../../src/data/dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { exportQdq } from "../../src/export/qdq.ts";
import { checkVerification, verifyExport } from "../../src/export/verify.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { type Tensor, tensorOf, toNumbers } from "../../src/ir/tensor.ts";
import { dtypeCode } from "../../src/onnx/data-types.ts";
import { encodeTensor } from "../../src/onnx/encode-tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { runOptions } from "../../src/options/recipe.ts";
import { runMethods } from "../../src/quantize/run-methods.ts";
import { foldQuantizers } from "../../src/quantizers/fold.ts";
import { quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import { quantizersOf } from "../../src/quantizers/quantizer.ts";
import { recognizeQuantizers } from "../../src/quantizers/recognize.ts";
import { findSites, withoutQuantized } from "../../src/quantizers/sites.ts";
import { parametersOf } from "../../src/training/parameters.ts";
import { expectClose } from "../support/close.ts";
import { int, ints, modelBytes, node, value } from "../support/onnx-model.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import { runModel } from "../support/run-model.ts";
import { quantized } from "./quantized.ts";
import { batchFor, originOf, type TinyModel, tinyModels } from "./tiny-models.ts";
import { train, withTrained } from "./train.ts";

const engine = createReferenceEngine();
const count = (graph: Graph, op: string): number => graph.nodes.filter((each) => each.op === op).length;

const forms = (["inputs", "runtime"] as const).flatMap((placement) =>
  [false, true].map((symmetricActivations) => ({ placement, symmetricActivations })),
);
type Form = (typeof forms)[number];

const open = (model: Uint8Array | string) => openDeployed(model, { threads: 1 });

function write(model: TinyModel, graph: Graph, { placement }: Form) {
  const folded = foldQuantizers(graph, placement === "runtime" ? "int32" : "float");
  const exported = exportQdq(folded, originOf(model), "packed");
  return { folded, exported, bytes: writeOnnx(exported.model, { opset: exported.opset }) };
}

const bitsOf = (graph: Graph): readonly string[] =>
  quantizersOf(graph)
    .map(({ bits, zeroPoint }) => `${bits} ${zeroPoint === "" ? "symmetric" : "asymmetric"}`)
    .sort();

describe.each(tinyModels)("an exported $name", (model) => {
  test.each(forms)("is read back as the same quantizers: %o", async (form) => {
    const { placement } = form;
    const bits = placement === "inputs" ? { weights: 4, activations: 4 } : { weights: 8, activations: 8 };
    const before = await quantized(model, "float32", { ...form, ...bits });
    const { graph: file } = readOnnx(write(model, before, form).bytes, { name: "quantized.onnx" });
    const graph = recognizeQuantizers(file);
    expect([count(graph, "QuantizeLinear"), count(graph, "DequantizeLinear")]).toEqual([0, 0]);
    expect(bitsOf(graph)).toEqual(bitsOf(before));

    const inputs = new Map([["input", batchFor(model, "float32", 4).images]]);
    const [expected, actual] = [await runGraph(engine, file, inputs), await runGraph(engine, graph, inputs)];
    for (const [name, wanted] of expected) expectClose(actual.get(name) as Tensor, wanted, { what: name });

    const options = quantizeOptions.parse({ placement });
    expect(withoutQuantized(graph, findSites(graph, options)).weights).toEqual([]);
  });
});

describe.each(tinyModels)("an exported $name, read back,", (model) => {
  test.each([forms[0], forms[3]])("is trained further and exported again: %o", async (form) => {
    const first = write(model, await quantized(model, "float32", form), form);
    const graph = recognizeQuantizers(readOnnx(first.bytes, { name: "quantized.onnx" }).graph);
    const run = await train(model, graph, { engine: createOnnxRuntimeEngine(), dtype: "float32", steps: 12 });
    expect(run.losses[run.losses.length - 1]).toBeLessThan(run.losses[0]);
    const { folded, exported, bytes } = write(model, withTrained(graph, run), form);
    const samples = [new Map([["input", batchFor(model, "float32", 16).images]])];
    checkVerification(
      await verifyExport({ folded, exported, model: bytes }, { batches: samples, open, context: { engine, seed: 0 } }),
      graph.outputs[0],
    );
  });
});

test("other bits than the file's are not what becomes of them, and that is said", async () => {
  const [model] = tinyModels;
  const first = write(model, await quantized(model, "float32", { ...forms[0], weights: 4 }), forms[0]);
  const graph = recognizeQuantizers(readOnnx(first.bytes, { name: "quantized.onnx" }).graph);
  const notes: string[] = [];
  const { quantize, methods } = runOptions.parse({
    quantize: { weights: 2, placement: "inputs" },
    methods: ["bias-correction"],
  });
  const start = { graph, original: graph, float: graph, quantize, outputs: undefined };
  const data = { train: {} as Dataset, preprocess: resolvePreprocess("none") };
  const context = { engine, seed: 0, onNote: (note: string) => void notes.push(note) };
  const { model: made } = await runMethods(
    start,
    {
      steps: methods,
      all: methods,
      data,
      fileBytes: () => 0,
      timeFiles: () => Promise.resolve([]),
      loadSolver: () => Promise.reject(new Error("no solver")),
      checkpoints: undefined,
    },
    context,
  );
  expect(made.graph).toBe(graph);
  expect(notes).toEqual([
    expect.stringContaining("are quantized already: they keep their 4 bits"),
    expect.stringContaining("Bias correction changed nothing"),
  ]);
});

describe.each([
  { dtype: "int8" as const, middle: 0 },
  { dtype: "uint8" as const, middle: 128 },
])("a convolution as other tools quantize it, in $dtype", ({ dtype, middle }) => {
  const random = createRandom(51);
  const scalar = (v: number): Tensor => tensorOf("float32", [], [v]);
  const constants = new Map<string, Tensor>([
    ["x_scale", scalar(0.03)],
    ["x_zero", tensorOf(dtype, [], [middle - 7])],
    ["w_quantized", random.integerTensor(dtype, [3, 2, 3, 3], middle - 127, middle + 127)],
    ["w_scale", scalar(0.02)],
    ["w_zero", tensorOf(dtype, [], [middle])],
    ["y_scale", scalar(0.4)],
    ["y_zero", tensorOf(dtype, [], [middle + 11])],
    ["b_quantized", random.integerTensor("int32", [3], -900, 900)],
  ]);
  const bytesWith = (tensors: ReadonlyMap<string, Tensor>) =>
    modelBytes({
      opset: 13,
      inputs: [value("x", [2, 2, 5, 5])],
      outputs: [value("y", [2, 3, 5, 5])],
      initializers: [...tensors].map(([name, tensor]) => encodeTensor(name, tensor)),
      nodes: [
        node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_int"], {}, { name: "qx" }),
        node(
          "QLinearConv",
          ["x_int", "x_scale", "x_zero", "w_quantized", "w_scale", "w_zero", "y_scale", "y_zero", "b_quantized"],
          ["y_int"],
          { pads: ints([1, 1, 1, 1]), group: int(1) },
        ),
        node("DequantizeLinear", ["y_int", "y_scale", "y_zero"], ["y"], {}, { name: "dy" }),
      ],
    });

  const bytes = bytesWith(constants);

  test("with integer operators and one scale for the weight is read as trainable quantizers", async () => {
    const { graph: file } = readOnnx(bytes, { name: "qlinear.onnx" });
    const graph = recognizeQuantizers(file);
    expect(graph.nodes.map(({ op }) => op).sort()).toEqual(["Conv", "FakeQuantize", "FakeQuantize", "FakeQuantize"]);
    expect(
      parametersOf(graph)
        .map(({ role }) => role)
        .sort(),
    ).toEqual(["bias", "input-scale", "input-scale", "input-zero-point", "input-zero-point", "weight", "weight-scale"]);
    const inputs = new Map([["x", random.tensor("float32", [2, 2, 5, 5])]]);
    const expected = await runModel(bytes, inputs);
    for (const each of [file, graph])
      expectClose((await runGraph(engine, each, inputs)).get("y") as Tensor, expected.get("y") as Tensor);
  });

  test("is exported again with the same integers, the lowest included", () => {
    const given = Array.from(toNumbers(constants.get("w_quantized") as Tensor), (q) => q - middle);
    const forms = [
      { bits: 8, integers: given },
      { bits: 8, integers: given.with(5, -128) },
      { bits: 4, integers: given.map((q) => (q % 8) + 0) },
      { bits: 3, integers: given.map((q) => (q % 4) + 0).with(5, -4) },
    ];
    for (const { bits, integers } of forms) {
      const weight = tensorOf(
        dtype,
        [3, 2, 3, 3],
        integers.map((q) => q + middle),
      );
      const file = bytesWith(new Map([...constants, ["w_quantized", weight]]));
      const graph = recognizeQuantizers(readOnnx(file, { name: "qlinear.onnx" }).graph);
      const folded = foldQuantizers(graph, "int32");
      expect(toNumbers(folded.graph.constants.get(folded.layers[0].integers) as Tensor)).toEqual(integers);
      expect(folded.layers[0].bits).toBe(bits);
    }
  });

  test("keeps what is computed or in blocks as it is", () => {
    const computed = modelBytes({
      opset: 13,
      inputs: [value("x", [2, 4]), value("s", [], dtypeCode("float32"))],
      outputs: [value("y", [2, 4])],
      nodes: [
        node("QuantizeLinear", ["x", "s"], ["q"], {}, { name: "q" }),
        node("DequantizeLinear", ["q", "s"], ["y"], {}, { name: "d" }),
      ],
    });
    const { graph } = readOnnx(computed, { name: "computed.onnx" });
    expect(recognizeQuantizers(graph).nodes).toEqual(graph.nodes);
  });

  test("keeps a quantizer whose zero point is none of its integers as it is", () => {
    const integers = { x_zero: 20, low: 0, high: 15 };
    const clipped = modelBytes({
      opset: 13,
      inputs: [value("x", [2, 4])],
      outputs: [value("y", [2, 4])],
      initializers: [
        encodeTensor("x_scale", scalar(0.5)),
        ...Object.entries(integers).map(([name, each]) => encodeTensor(name, tensorOf("uint8", [], [each]))),
      ],
      nodes: [
        node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["wide"], {}, { name: "q" }),
        node("Clip", ["wide", "low", "high"], ["narrow"], {}, { name: "c" }),
        node("DequantizeLinear", ["narrow", "x_scale", "x_zero"], ["y"], {}, { name: "d" }),
      ],
    });
    const { graph } = readOnnx(clipped, { name: "clipped.onnx" });
    expect(recognizeQuantizers(graph).nodes).toEqual(graph.nodes);
  });
});
