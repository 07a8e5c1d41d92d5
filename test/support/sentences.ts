// Sentences of several lengths, filled up to one, and a classifier of them that leaves the length open.
import type { Dataset } from "../../src/data/dataset.ts";
import { memoryDataset } from "../../src/data/memory-dataset.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { createRandom } from "./random.ts";

/** What sentences are filled up to. */
export const places = 30;
const tokens = 11;

/** Classes by the mean of what the tokens that the mask names stand for. */
export function sentenceClassifier(size: string | number = "length"): Graph {
  const random = createRandom(3);
  const build = buildOn();
  const type = { dtype: "int64", shape: ["N", size] } as const;
  const [ids, mask] = [build.input("input_ids", type), build.input("attention_mask", type)];
  const table = build.constant(random.tensor("float32", [tokens, 6]), "table");
  const weight = build.constant(random.tensor("float32", [6, 3]), "head.weight");
  const kept = build.node("Unsqueeze", [build.node("Cast", [mask], { to: "float32" }), build.ints([2])]);
  const embedded = build.node("Mul", [build.node("Gather", [table, ids], { axis: 0 }), kept]);
  const sum = build.node("ReduceSum", [embedded, build.ints([1])], { keepdims: 0 });
  const total = build.node("ReduceSum", [kept, build.ints([1])], { keepdims: 0 });
  return build.graph([build.node("MatMul", [build.node("Div", [sum, total]), weight], {}, "head")], "sentences");
}

/** What fills sentences up stands for something too. */
export function drawSentences(count: number, seed = 5): Dataset & { readonly lengths: Int32Array } {
  const random = createRandom(seed);
  const lengths = Int32Array.from({ length: count }, () => 1 + Math.floor(random.uniform() * (places - 1)));
  const filled = (value: (row: number, place: number) => number): Tensor =>
    tensorOf(
      "int64",
      [count, places],
      Array.from({ length: count * places }, (_, i) => value(Math.floor(i / places), i % places)),
    );
  const inputs = new Map([
    ["input_ids", filled(() => Math.floor(random.uniform() * tokens))],
    ["attention_mask", filled((row, place) => (place < lengths[row] ? 1 : 0))],
  ]);
  const labels = tensorOf(
    "int64",
    [count],
    Array.from({ length: count }, (_, i) => i % 3),
  );
  return { ...memoryDataset("sentences", inputs, labels), lengths };
}
