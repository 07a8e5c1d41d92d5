import { expect, test } from "vitest";
import { originOf, tinyModels } from "../../test/models/tiny-models.ts";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { exportQdq } from "../export/qdq.ts";
import type { Graph } from "../ir/graph.ts";
import { scalar, tensorOf } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { dropRepeatedClips } from "./drop-clips.ts";
import { foldQuantizers } from "./fold.ts";

const random = createRandom(61);
const weight = random.uniformTensor("float32", [8, 3, 3, 3], -1, 1);
const x = random.uniformTensor("float32", [2, 3, 6, 6], -3, 3);

/** A quantized convolution, a Relu6 and its quantizer. */
function relu6(scale: number, zeroPoint: number): Graph {
  const build = buildOn();
  const quantize = (value: string, step: number, zero: string, [low, high]: readonly number[]): string =>
    build.node("FakeQuantize", [
      value,
      build.constant(scalar("float32", step)),
      zero,
      build.scalar(low),
      build.scalar(high),
    ]);
  const at = (value: number): string => build.constant(scalar("float32", value));
  const input = build.input("x", { dtype: "float32", shape: ["N", 3, 6, 6] });
  const scales = build.constant(tensorOf("float32", [8], new Array<number>(8).fill(1 / 127)));
  const w = build.node(
    "FakeQuantize",
    [build.constant(weight, "conv.weight"), scales, "", build.scalar(-127), build.scalar(127)],
    { axis: 0, bits: 8 },
  );
  const conv = build.node("Conv", [quantize(input, 6 / 255, at(128), [0, 255]), w], { kernel_shape: [3, 3] }, "conv");
  const clip = build.node("Clip", [conv, build.scalar(0), build.scalar(6)], {}, "relu6");
  return build.graph([quantize(clip, scale, at(zeroPoint), [0, 255])]);
}

test.each([
  { top: 5.9, zeroPoint: 0, kept: false },
  { top: 6, zeroPoint: 0, kept: false },
  { top: 6.001, zeroPoint: 0, kept: false },
  { top: 6.011, zeroPoint: 0, kept: false },
  { top: 6.013, zeroPoint: 0, kept: true },
  { top: 7, zeroPoint: 0, kept: true },
  { top: 6, zeroPoint: 2, kept: true },
])("a Relu6 before a quantizer up to $top, zero point $zeroPoint: kept $kept, the same integers", async (given) => {
  const graph = relu6(given.top / 255, given.zeroPoint);
  const dropped = dropRepeatedClips(graph);
  expect(dropped.nodes.some(({ op }) => op === "Clip")).toBe(given.kept);
  const inputs = new Map([["x", x]]);
  const [output] = graph.outputs;
  const [before, after] = await Promise.all(
    [graph, dropped].map((each) => runGraph(createReferenceEngine(), each, inputs)),
  );
  expect(after.get(output)).toEqual(before.get(output));

  const { model, opset } = exportQdq(foldQuantizers(graph, "int32"), originOf(tinyModels[0]), "packed");
  const file = await openDeployed(writeOnnx(model, { opset }), { threads: 1 });
  expect((await file.run(inputs)).get(output)?.shape).toEqual([2, 8, 4, 4]);
  await file.dispose();
});
