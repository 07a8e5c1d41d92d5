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

const small = { epochs: 2, batch: 4, cacheBytes: 2 ** 30, fileBytes: 1e6, isMixed: true };

test("memory is what a run of SmolLM2-135M held at 2 bits, to a fifth: 4 windows of 512 tokens, on the native engine", () => {
  const layers = { length: 30 };
  const own = { hidden: 576, heads: 9, headSize: 64, intermediate: 1536, vocabulary: 49152, layers };
  const counted = { weights: 106e6, windows: 4, heldOut: 2, length: 512, batch: 2, fileBytes: 144e6 };
  const { memoryBytes, diskBytes } = blockApCost({ ...small, ...counted, config: own }, 1e11);
  expect(Math.abs(memoryBytes / 991e6 - 1)).toBeLessThan(0.2);
  expect(diskBytes).toBe(Math.round(106e6 * (9 / 8)) + 144e6);
  const long = { ...small, ...counted, config: own, windows: 1024, length: 2048, batch: 8 };
  const [few, many] = [2 ** 20, 2 ** 34].map((cacheBytes) => blockApCost({ ...long, cacheBytes }, 1e11));
  expect(many.memoryBytes).toBeGreaterThan(few.memoryBytes);
  expect(many.diskBytes).toBeLessThan(few.diskBytes);
});

test("a step counts as three passes, and streams as two", () => {
  const work = { ...small, config, weights: 1e6, windows: 64, heldOut: 0, length: 16 };
  const { multiplyAdds, seconds } = blockApCost(work, 1e9);
  expect(multiplyAdds).toBe((2 * 3 + 2) * 64 * windowMultiplyAdds(work));
  expect(blockApCost({ ...work, windows: 128 }, 1e9).seconds).toBeCloseTo(2 * seconds, 9);
});

test("the speed of an engine is found by running it", async () => {
  expect(await productSpeed(createReferenceEngine(), 8, 4)).toBeGreaterThan(0);
});
