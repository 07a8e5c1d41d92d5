import { expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { quantizeTiny, tinyBatch, tinyClassifier, tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { readOnnx } from "../onnx/read.ts";
import { buildOn } from "../ops/infer.ts";
import { foldQuantizers } from "../quantizers/fold.ts";
import type { QuantizeOptions } from "../quantizers/quantize-options.ts";
import { exportFormats, writeFormat } from "./formats.ts";
import type { Storage } from "./qdq.ts";
import { checkVerification } from "./verify.ts";

/** A MatMul, and a transposed convolution of what it gives. */
function products(): Graph {
  const build = buildOn();
  const random = createRandom(3);
  const weight = (name: string, shape: readonly number[]): string =>
    build.constant(random.tensor("float32", shape), name);
  const x = build.input("input", { dtype: "float32", shape: ["N", 4, 4, 16] });
  const product = build.node("Relu", [build.node("MatMul", [x, weight("matrix", [16, 16])], {}, "product")]);
  const wide = build.node("ConvTranspose", [product, weight("filters", [4, 3, 2, 2])], { strides: [2, 2] }, "wide");
  return build.graph([wide], "products");
}

interface Case {
  readonly graph: Graph;
  readonly input: Tensor;
}

const cases: Readonly<Record<string, Case>> = {
  convolutions: { graph: tinyClassifier("float32"), input: tinyBatch("float32", 4).images },
  products: { graph: products(), input: createRandom(5).tensor("float32", [2, 4, 4, 16]) },
};

/** Layers that no integer kernel computes, by placement: others are not stored in 2 bits. */
const inFloat: Readonly<Record<string, readonly string[]>> = {
  inputs: ["conv1", "conv2", "wide"],
  runtime: ["conv1", "conv2", "wide"],
};

const typeOf = (bits: number, storage: Storage, name: string, placement: string): RegExp => {
  if (storage === "int8") return /^u?int8$/;
  return bits === 2 && storage === "packed" && inFloat[placement].includes(name) ? /^u?int2$/ : /^u?int4$/;
};

const options: readonly (readonly [string, Partial<QuantizeOptions>])[] = [
  ["with zero points", {}],
  ["symmetric", { asymmetricWeights: false }],
  ["in groups", { groupSize: 16 }],
  ["between integers", { placement: "runtime" }],
];

test.each(
  Object.keys(cases).flatMap((name) =>
    options.flatMap(([form, each]) => [2, 3, 4].map((bits) => [name, bits, form, each] as const)),
  ),
)("weights of %s, %d bits, %s, are stored as asked; ONNX Runtime computes the same of each", async (...given) => {
  const [name, bits, , each] = given;
  const placement = each.placement ?? "inputs";
  const { graph, input } = cases[name];
  const quantized = quantizeTiny(graph, { ...each, weights: bits });
  const folded = foldQuantizers(quantized, placement === "runtime" ? "int32" : "float");
  const batches = [new Map([["input", input]])];
  const run = { batches, open: openDeployed, context: { engine: createReferenceEngine(), seed: 0 } };
  const sizes: number[] = [];
  const outputs: number[][] = [];
  for (const storage of ["packed", "int4", "int8"] as const) {
    const source = { folded, origin: tinyOrigin, storage };
    const files = writeFormat("qdq", exportFormats.qdq, source);
    checkVerification(await exportFormats.qdq.verify(source, files, run), undefined);
    const { constants } = readOnnx(files[0].bytes, { name: "written" }).graph;
    for (const layer of folded.layers)
      expect(constants.get(layer.integers)?.dtype, layer.name).toMatch(typeOf(bits, storage, layer.name, placement));
    sizes.push(files[0].bytes.length);
    const deployed = await openDeployed(files[0].bytes, { threads: 1 });
    outputs.push([...(await deployed.run(batches[0])).values()].flatMap(({ data }) => Array.from(data, Number)));
    await deployed.dispose();
  }
  const isNarrower = folded.layers.some((layer) => inFloat[placement].includes(layer.name));
  expect(sizes[0] < sizes[1]).toBe(bits === 2 && isNarrower);
  expect(sizes[1]).toBeLessThan(sizes[2]);
  for (const other of outputs.slice(1))
    for (const [i, value] of other.entries()) expect(value).toBeCloseTo(outputs[0][i], 4);
});
