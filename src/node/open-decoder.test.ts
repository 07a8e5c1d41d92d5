import { expect, test } from "vitest";
import { tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { tensorOf, toNumbers } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { openSequences } from "./open-decoder.ts";

test("an encoder that has a mask and token types is run as it is", async () => {
  const build = buildOn();
  const names = ["input_ids", "attention_mask", "token_type_ids"];
  const [ids, mask, types] = names.map((name) => build.input(name, { dtype: "int64", shape: ["N", 4] }));
  const table = build.constant(tensorOf("int64", [5], [3, 5, 7, 11, 13]));
  const words = build.node("Mul", [build.node("Gather", [table, ids]), mask]);
  const graph = build.graph([build.node("Add", [words, types], {}, "logits")]);
  const session = await openSequences(writeOnnx({ graph, origin: tinyOrigin }, { opset: 17 }), { threads: 1 });
  expect([...session.inputs.keys()]).toEqual(names);
  const of = (...values: number[]) => tensorOf("int64", [1, 4], values);
  const outputs = await session.run(
    new Map([
      [ids, of(1, 2, 3, 4)],
      [mask, of(1, 1, 0, 0)],
      [types, of(0, 1, 0, 1)],
    ]),
  );
  expect([...outputs.values()].map(toNumbers)).toEqual([[5, 8, 0, 1]]);
  await session.dispose();
});
