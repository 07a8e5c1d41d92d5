import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { describeWithData, readBytes, readTensors } from "../../test/support/frostbit-data.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import type { Session } from "../engines/onnxruntime/open-session.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { bytesSource } from "../ir/tensor-source.ts";
import { type ModelFolder, readJson } from "../language-models/checkpoint.ts";
import { parseConfig } from "../language-models/config.ts";
import { readLanguageModel } from "../language-models/read.ts";
import { behindCache, type Cache, cacheAfter, emptyCache } from "../node/open-decoder.ts";
import { writeOnnx } from "../onnx/write.ts";
import { cachedDecoder } from "./cached-decoder.ts";

const oracles = join(import.meta.dirname, "../../test/oracles/decoders");

const folderAt = (...path: string[]): ModelFolder => ({
  holds: (file) => existsSync(join(...path, file)),
  open: (file) => bytesSource(readBytes(...path, file)),
});

/** The decoder with a cache, in float. */
function openCached(folder: ModelFolder): Promise<Session> {
  const { graph, origin } = readLanguageModel(folder, { name: "model" });
  const config = parseConfig(readJson(folder, "config.json"));
  const cached = cachedDecoder({ graph, layers: [], biases: "float" }, { config, folder });
  return openDeployed(writeOnnx({ graph: cached.graph, origin }, { opset: 23 }), { threads: 1 });
}

const int64 = (rows: readonly (readonly number[])[]): Tensor =>
  tensorOf("int64", [rows.length, rows[0].length], rows.flat());

function rowsOf({ shape: [rows, length], data }: Tensor): readonly (readonly number[])[] {
  const values = Array.from(data, Number);
  return Array.from({ length: rows }, (_, row) => values.slice(row * length, (row + 1) * length));
}

/** The logits of each part, run one after the other; equal to those of the whole within a part in ten thousand of the largest. */
async function expectSameInParts(
  session: Session,
  ids: Tensor,
  logits: Tensor,
  parts: readonly number[],
): Promise<void> {
  const [rows, length, vocabulary] = logits.shape;
  const expected = numbersOf(logits);
  const largest = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  let cache: Cache = emptyCache(session, rows);
  let at = 0;
  let worst = 0;
  for (const count of parts) {
    const outputs = await session.run(behindCache(int64(rowsOf(ids).map((row) => row.slice(at, at + count))), cache));
    const part = numbersOf(outputs.get("logits")!);
    for (let row = 0; row < rows; row++)
      for (let i = 0; i < count * vocabulary; i++) {
        const whole = expected[(row * length + at) * vocabulary + i];
        worst = Math.max(worst, Math.abs(part[row * count * vocabulary + i] - whole));
      }
    cache = cacheAfter(outputs);
    at += count;
  }
  expect(at).toBe(length);
  expect(worst / largest).toBeLessThan(1e-4);
}

const all = (folder: string) => {
  const expected = readTensors(folder, "expected.safetensors");
  return { ids: expected.get("ids")!, logits: expected.get("logits")! };
};

test.each(readdirSync(oracles))(
  "%s behind a cache gives the logits that transformers gives of the whole",
  async (name) => {
    const { ids, logits } = all(join(oracles, name));
    const session = await openCached(folderAt(oracles, name));
    try {
      await expectSameInParts(session, ids, logits, [12]);
      await expectSameInParts(session, ids, logits, [7, 1, 1, 3]);
    } finally {
      await session.dispose();
    }
  },
);

test.each(["llama", "gemma3", "mistral"])("%s sees no padding on the left, whatever it holds", async (name) => {
  const { ids, logits } = all(join(oracles, name));
  const session = await openCached(folderAt(oracles, name));
  const padding = 3;
  const [first, second] = rowsOf(ids);
  const given = new Map([
    ...behindCache(int64([[9, 8, 7, ...first.slice(0, -padding)], second]), emptyCache(session, 2)),
    ["attention_mask", int64([first.map((_, i) => (i < padding ? 0 : 1)), second.map(() => 1)])],
    ["position_ids", int64([first.map((_, i) => Math.max(0, i - padding)), second.map((_, i) => i)])],
  ]);
  const actual = numbersOf((await session.run(given)).get("logits")!);
  await session.dispose();
  const expected = numbersOf(logits);
  const [, length, vocabulary] = logits.shape;
  let worst = 0;
  for (let i = 0; i < (length - padding) * vocabulary; i++)
    worst = Math.max(worst, Math.abs(actual[padding * vocabulary + i] - expected[i]));
  for (let i = length * vocabulary; i < 2 * length * vocabulary; i++)
    worst = Math.max(worst, Math.abs(actual[i] - expected[i]));
  expect(worst).toBeLessThan(1e-4);
});

describeWithData("stories260k", (data) => {
  test("behind a cache gives the reference's logits of the whole story", async () => {
    const stored = readTensors(data, "stories260k", "reference_logits_story0.safetensors");
    const [tokens, logits] = [stored.get("tokens")!, stored.get("logits")!];
    const [length] = tokens.shape;
    const session = await openCached(folderAt(data, "stories260k", "hf"));
    const ids = { ...tokens, shape: [1, length] };
    await expectSameInParts(session, ids, { ...logits, shape: [1, ...logits.shape] }, [
      20,
      ...new Array<number>(length - 20).fill(1),
    ]);
    await session.dispose();
  });
});
