import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { writeDrawnModel } from "../../test/support/drawn-language-model.ts";
import { writeEncoder } from "../../test/support/letter-tokenizer.ts";
import { createRandom } from "../../test/support/random.ts";
import { runModel } from "../../test/support/run-model.ts";
import { type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { readOnnx } from "../onnx/read.ts";
import { quantizeForTransformersJs } from "./quantize-for-transformers-js.ts";
import { readBytes } from "./storage.ts";

const root = mkdtempSync(join(tmpdir(), "frostbit-text-"));
afterAll(() => rmSync(root, { recursive: true }));

const random = createRandom(6);
const letters = "abcdefghijklmnopqrst";
const words = (): string =>
  Array.from({ length: 3 + Math.floor(9 * random.uniform()) }, () => letters[Math.floor(20 * random.uniform())]).join(
    " ",
  );
const lines = Array.from({ length: 60 }, words);
const text = join(root, "texts.txt");
writeFileSync(text, `${lines.join("\n")}\n`);
const folder = writeEncoder(root, "bert");

const write = (out: string, choices: object = {}) =>
  quantizeForTransformersJs({
    folder,
    out: join(root, out),
    forms: ["fp16", "q8", "q4", "q4f16"],
    blockSize: 16,
    ...choices,
  });

const onnx = (out: string, end: string): string => join(root, out, `onnx/model${end}.onnx`);

/** As the tokenizer has them. */
function tokensOf(line: string): ReadonlyMap<string, Tensor> {
  const ids = [2, ...line.split(" ").map((letter) => 4 + letters.indexOf(letter)), 3];
  const row = (values: readonly number[]): Tensor => tensorOf("int64", [1, ids.length], values);
  return new Map([
    ["input_ids", row(ids)],
    ["attention_mask", row(ids.map(() => 1))],
    ["token_type_ids", row(ids.map(() => 0))],
  ]);
}

/** Of what a file gives, against the float model, over texts that nothing was learned from. */
async function noiseOf(path: string): Promise<number> {
  const [file, float] = await Promise.all([path, onnx("plain", "")].map(readBytes));
  let noise = 0;
  for (const line of Array.from({ length: 40 }, words)) {
    const inputs = tokensOf(line);
    const [found, expected] = [await runModel(file, inputs), await runModel(float, inputs)];
    for (const [name, value] of expected) {
      const given = toNumbers(found.get(name) as Tensor);
      toNumbers(value).forEach((each, i) => {
        noise += (each - given[i]) ** 2;
      });
    }
  }
  return noise;
}

describe("forms of an encoder that learn from texts", () => {
  test("q8 has constant ranges, and 4-bit weights come nearer to the float model than without", async () => {
    const [plain, learned] = [await write("plain"), await write("learned", { text })];
    expect(learned.refused).toEqual([]);
    const names = ({ files }: typeof plain) => files.map(({ form, path }) => `${form} ${basename(path)}`);
    expect(names(learned)).toEqual(names(plain));
    const { nodes } = readOnnx(await readBytes(onnx("learned", "_quantized")), { name: "int8" }).graph;
    expect(nodes.map(({ op }) => op)).toContain("QuantizeLinear");
    expect(nodes.map(({ op }) => op)).not.toContain("DynamicQuantizeLinear");
    for (const { form, agreement } of learned.files) expect(agreement[0].cosine, form).toBeGreaterThan(0.95);
    expect(await noiseOf(onnx("learned", "_q4"))).toBeLessThan(0.9 * (await noiseOf(onnx("plain", "_q4"))));
    const sizes = ({ files }: typeof plain) => files.find(({ form }) => form === "q4")?.sizeBytes ?? 0;
    expect(sizes(learned)).toBeLessThan(1.1 * sizes(plain));
  });

  test("a text that teaches nothing is refused before anything is written", async () => {
    await expect(write("refused", { text, forms: ["fp16", "uint8"] })).rejects.toThrow(
      "text: forms is fp16, uint8, of which none is found with data; q8, q4, q4f16 are.",
    );
    const few = join(root, "few.txt");
    writeFileSync(few, "a b\n\nc d\n");
    await expect(write("refused", { text: few })).rejects.toThrow(/has 2 texts; expected 16 or more/);
    writeDrawnModel(join(root, "drawn"), "qwen2");
    await expect(write("refused", { text, folder: join(root, "drawn") })).rejects.toThrow(
      "text: config.json is that of a language model",
    );
    expect(existsSync(join(root, "refused"))).toBe(false);
  });
});
