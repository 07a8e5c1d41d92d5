import { expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { tinyOrigin } from "../../test/support/tiny-classifier.ts";
import type { Dataset } from "../data/dataset.ts";
import { memoryDataset } from "../data/memory-dataset.ts";
import { resolvePreprocess } from "../data/preprocess.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { tensorOf } from "../ir/tensor.ts";
import { readOnnx } from "../onnx/read.ts";
import { buildOn } from "../ops/infer.ts";
import { runOptions } from "../options/recipe.ts";
import type { QuantizeOutcome } from "./outcome.ts";
import { quantizeModel } from "./quantize-model.ts";

const [words, width, classes] = [12, 8, 3];
const random = createRandom(5);
const normal = (shape: readonly number[]) => random.uniformTensor("float32", shape, -1, 1);

/** Tokens and their mask of an open length, with heads split by a shape that is computed from the tokens' own. */
function tokenClassifier(): Graph {
  const build = buildOn();
  const type = { dtype: "int64", shape: ["batch", "length"] } as const;
  const [ids, mask] = [build.input("ids", type), build.input("mask", type)];
  const embedded = build.node("Gather", [build.constant(normal([words, width]), "words"), ids], { axis: 0 }, "embed");
  const kept = build.node("Mul", [
    embedded,
    build.node("Unsqueeze", [build.node("Cast", [mask], { to: "float32" }), build.ints([-1])]),
  ]);
  const hidden = build.node("Relu", [
    build.node("MatMul", [kept, build.constant(normal([width, width]), "w1")], {}, "dense"),
  ]);
  const sizes = build.node("Concat", [build.node("Shape", [ids]), build.ints([2, width / 2])], { axis: 0 });
  const heads = build.node("Reshape", [hidden, sizes], {}, "heads"); // [batch, length, 2, width / 2]
  const pooled = build.node("ReduceMean", [heads, build.ints([1])], { keepdims: 0 });
  const flat = build.node("Flatten", [pooled], { axis: 1 });
  const logits = build.node("Gemm", [flat, build.constant(normal([width, classes]), "w2")], {}, "logits");
  return build.graph([logits], "tokens");
}

function tokens(count: number, length: number, maskLength = length): Dataset {
  const ids = Array.from({ length: count * length }, () => Math.floor(random.uniform() * words));
  const ones = new Array<number>(count * maskLength).fill(1);
  const labels = Array.from({ length: count }, (_, i) => i % classes);
  const inputs = new Map([
    ["ids", tensorOf("int64", [count, length], ids)],
    ["mask", tensorOf("int64", [count, maskLength], ones)],
  ]);
  return memoryDataset("tokens", inputs, tensorOf("int64", [count], labels));
}

const run = (train: Dataset, test: Dataset, methods: readonly unknown[]): Promise<QuantizeOutcome> =>
  quantizeModel(
    {
      model: { graph: tokenClassifier(), origin: tinyOrigin },
      source: { train, test, heldOut: false },
      preprocess: resolvePreprocess("none"),
      options: runOptions.parse({ quantize: { weights: 8, activations: 8, calibrationSamples: 16 }, methods }),
      openDeployed: (file) => openDeployed(file, { threads: 1 }),
    },
    { engine: createReferenceEngine(), seed: 0, threads: 1 },
  );

const training = { batch: 8, steps: 3, loss: "cross-entropy" };

test.each([["ptq"], [{ qat: training }], [{ efqat: training }]])(
  "a length that the model leaves open is what the data has, and stays open in the file: %j",
  async (method) => {
    const outcome = await run(tokens(32, 6), tokens(16, 6), [method]);
    expect(outcome.top1.deployed).toBeGreaterThanOrEqual(0);
    const { graph } = readOnnx(outcome.bytes, { name: "model.onnx" });
    expect(graph.inputs.map((name) => graph.values.get(name)?.shape)).toEqual([
      ["batch", "length"],
      ["batch", "length"],
    ]);
    const file = await openDeployed(outcome.bytes, { threads: 1 });
    const longer = new Map(
      ["ids", "mask"].map((name) => [name, tensorOf("int64", [2, 9], new Array<number>(18).fill(1))] as const),
    );
    expect((await file.run(longer)).get("logits")?.shape).toEqual([2, classes]);
    await file.dispose();
  },
);

test("training and test data may have different lengths", async () => {
  const outcome = await run(tokens(32, 6), tokens(16, 10), [{ qat: training }]);
  expect(outcome.training?.losses).toHaveLength(3);
  expect(outcome.top1.deployed).toBe(outcome.top1.quantized);
});

test("inputs that give one open size differently are refused before any work", async () => {
  await expect(run(tokens(32, 6, 5), tokens(16, 6), ["ptq"])).rejects.toMatchObject({
    code: "BAD_DATA",
    message:
      'The model\'s size "length" is 6 in input "ids" of "tokens", and 5 in input "mask". Give both the same size.',
  });
});
