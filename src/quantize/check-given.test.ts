import { expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { memoryDataset } from "../data/memory-dataset.ts";
import { resolvePreprocess } from "../data/preprocess.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Dim, Graph } from "../ir/graph.ts";
import { numbersOf } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { runOptions } from "../options/recipe.ts";
import { checkGiven } from "./check-given.ts";
import type { QuantizeJob } from "./job.ts";
import { openSubject } from "./subject.ts";

const random = createRandom(8);
const weights = [0, 1].map(() => random.uniformTensor("float32", [4, 4], -1, 1));

/** Two layers. `mixed`: between them, the mean over the batch is taken away, so that samples depend on each other. */
function layers(batch: Dim, mixed = false): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [batch, 4] });
  const first = build.node("MatMul", [x, build.constant(weights[0], "w0")], {}, "first");
  const centred = mixed
    ? build.node("Sub", [first, build.node("ReduceMean", [first, build.ints([0])], { keepdims: 1 })], {}, "centred")
    : build.node("Identity", [first], {}, "centred");
  return build.graph([build.node("MatMul", [centred, build.constant(weights[1], "w1")], {}, "y")], "layers");
}

const numbers = (count: number) =>
  memoryDataset("numbers", new Map([["x", random.uniformTensor("float32", [count, 4], -1, 1)]]));
const data = numbers(16);
const context = { engine: createReferenceEngine(), seed: 0, threads: 1 };

/** `worked`: what the run works on; `given`: the file. */
async function check(worked: Graph, given: Graph, notes: string[] = [], test = data): Promise<void> {
  const job: QuantizeJob = {
    model: { graph: worked, origin: tinyOrigin },
    source: { train: data, test, heldOut: false },
    preprocess: resolvePreprocess("none"),
    options: runOptions.parse({ methods: ["ptq"] }),
    openDeployed,
    openGiven: () => openDeployed(writeOnnx({ graph: given, origin: tinyOrigin }, { opset: 18 }), { threads: 1 }),
  };
  const subject = openSubject(job);
  await checkGiven({ ...job, model: { ...job.model, graph: given } }, subject, {
    ...context,
    onNote: (note) => notes.push(note),
  });
}

test.each<readonly [Dim]>([["N"], [1], [2], [4], [5]])(
  "a model whose batch is %s computes the same with a free one",
  async (batch) => {
    await check(layers(batch), layers(batch));
  },
);

test.each<readonly [Dim, number]>([
  ["N", 1],
  [1, 1],
  [4, 3],
])("batch %s, %i test samples: the last one is repeated where there are too few", async (batch, count) => {
  await check(layers(batch), layers(batch), [], numbers(count));
});

test.each([1, 3])("a batch of %i that cannot be freed is run as it is", async (batch) => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [batch, 4] });
  const flat = build.node("Reshape", [x, build.ints([batch * 4])]);
  const backwards = build.node("Reshape", [flat, build.ints([4, batch])]);
  const graph = build.graph([build.node("MatMul", [build.constant(weights[0], "w0"), backwards], {}, "y")], "mixing");
  await check(graph, graph);
});

test.each([1, 4])("where samples of a fixed batch of %i depend on each other, the node is named", async (batch) => {
  await expect(check(layers("N"), layers(batch, true))).rejects.toMatchObject({
    code: "BAD_MODEL",
    message: expect.stringMatching(/they part at Identity \(node "centred(_node)?"\), and output "y" differs/),
  });
});

test("where nothing parts but the runtime, Frostbit is named", async () => {
  const file = await openDeployed(writeOnnx({ graph: layers("N"), origin: tinyOrigin }, { opset: 18 }));
  const job: QuantizeJob = {
    model: { graph: layers("N"), origin: tinyOrigin },
    source: { train: data, test: data, heldOut: false },
    preprocess: resolvePreprocess("none"),
    options: runOptions.parse({ methods: ["ptq"] }),
    openDeployed,
    openGiven: async () => ({
      ...file,
      run: async (inputs) => {
        const outputs = await file.run(inputs);
        return new Map(
          [...outputs].map(([name, y]) => [
            name,
            { ...y, data: Float32Array.from(numbersOf(y), (value) => 2 * value) },
          ]),
        );
      },
    }),
  };
  await expect(checkGiven(job, openSubject(job), context)).rejects.toThrow(
    /not what ONNX Runtime computes of the file/,
  );
});

test("a file that ONNX Runtime does not load is noted", async () => {
  const notes: string[] = [];
  const unknown = layers("N");
  const nodes = unknown.nodes.map((node) => (node.op === "Identity" ? { ...node, op: "NoSuchOperator" } : node));
  await check(unknown, { ...unknown, nodes }, notes);
  expect(notes).toEqual([
    expect.stringMatching(/^The model as given could not be compared .*ONNX Runtime cannot load/),
  ]);
});
