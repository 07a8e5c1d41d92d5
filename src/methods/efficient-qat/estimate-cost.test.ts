import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { bytesSource } from "../../ir/tensor-source.ts";
import { readJson } from "../../language-models/checkpoint.ts";
import { parseConfig } from "../../language-models/config.ts";
import { readLanguageModel } from "../../language-models/read.ts";
import { multiplyAddsOf } from "../../passes/count-operations.ts";
import { withInputTypes } from "../../passes/with-input-types.ts";
import { linearLayers } from "../../quantizers/linear-layers.ts";
import { blockApCost, windowMultiplyAdds } from "./estimate-cost.ts";
import { productSpeed } from "./product-speed.ts";

const root = join(import.meta.dirname, "../../../test/oracles/decoders/llama");
const folder = {
  holds: (file: string) => existsSync(join(root, file)),
  open: (file: string) => bytesSource(new Uint8Array(readFileSync(join(root, file)))),
};
const config = parseConfig(readJson(folder, "config.json"));

test("a window's multiply-adds are those of the decoder's products", () => {
  const length = 12;
  const { graph: open } = readLanguageModel(folder, { name: "llama" });
  const graph = withInputTypes(open, new Map([["input_ids", { dtype: "int64", shape: [1, length] }]]));
  const products = graph.nodes.filter(({ op }) => op === "MatMul");
  const counted = products.reduce((sum, node) => sum + (multiplyAddsOf(graph, node) ?? 0), 0);
  const weights = linearLayers(graph).reduce(
    (sum, { weight }) => sum + sizeOf(graph.constants.get(weight)?.shape ?? []),
    0,
  );
  expect(windowMultiplyAdds({ config, weights, length })).toBe(counted);
});

test("a step counts as three passes, and streams as two", () => {
  const work = { config, weights: 1e6, windows: 64, heldOut: 0, length: 16, epochs: 2 };
  const { multiplyAdds, seconds } = blockApCost(work, 1e9);
  expect(multiplyAdds).toBe((2 * 3 + 2) * 64 * windowMultiplyAdds(work));
  expect(blockApCost({ ...work, windows: 128 }, 1e9).seconds).toBeCloseTo(2 * seconds, 9);
});

test("the speed of an engine is found by running it", async () => {
  expect(await productSpeed(createReferenceEngine(), 8, 4)).toBeGreaterThan(0);
});
