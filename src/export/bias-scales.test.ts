import { expect, test } from "vitest";
import { optimizedNodes } from "../../test/support/optimized-graph.ts";
import { runModel } from "../../test/support/run-model.ts";
import { quantizeTiny, tinyBatch, tinyClassifier, tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { inspectModel } from "../inspect/inspect-model.ts";
import { readOnnx } from "../onnx/read.ts";
import { writeOnnx } from "../onnx/write.ts";
import { foldQuantizers } from "../quantizers/fold.ts";
import { exportQdq } from "./qdq.ts";

const channels = 32;
const folded = foldQuantizers(quantizeTiny(tinyClassifier("float32", 1, channels), { placement: "runtime" }), "int32");
const [packed, plain] = (["packed", "int8"] as const).map((storage) => {
  const { model, opset } = exportQdq(folded, tinyOrigin, storage);
  return { nodes: model.graph.nodes, bytes: writeOnnx(model, { opset }) };
});

test("scales of biases are products, where there are many of them", () => {
  const biasScales = packed.nodes.filter(({ op }) => op === "Mul").map(({ inputs }) => inputs);
  expect(biasScales.length).toBe(2);
  for (const [scales] of biasScales) expect(folded.graph.constants.get(scales)?.shape).toEqual([channels]);
  expect(packed.bytes.length).toBeLessThan(plain.bytes.length);
  expect(plain.nodes.some(({ op }) => op === "Mul")).toBe(false);
});

test("ONNX Runtime has the same kernels for them, and computes the same", async () => {
  const kernels = async ({ bytes }: typeof packed) => (await optimizedNodes(bytes)).map(({ opType }) => opType);
  expect(await kernels(packed)).toEqual(await kernels(plain));
  const inputs = new Map([["input", tinyBatch("float32", 4).images]]);
  expect(await runModel(packed.bytes, inputs)).toEqual(await runModel(plain.bytes, inputs));
});

test("a file with them is read as one without", () => {
  const layersOf = ({ bytes }: typeof packed) =>
    inspectModel(readOnnx(bytes, { name: "written" }).graph).alreadyQuantized.map(({ node, bits }) => [node, bits]);
  expect(layersOf(packed)).toEqual(layersOf(plain));
  expect(layersOf(packed).length).toBe(3);
});
