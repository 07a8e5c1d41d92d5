import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { HeldForms } from "../../src/export/checkpoints/table.ts";
import { type GenerateTextJob, generateText } from "../../src/node/generate-text.ts";
import { decoderOracles, writeDrawnModel } from "../support/drawn-language-model.ts";
import { cliPath, runCli } from "../support/run-cli.ts";

const root = mkdtempSync(join(tmpdir(), "frostbit-generate-"));
afterAll(() => rmSync(root, { recursive: true }));

beforeAll(() => {
  writeDrawnModel(join(root, "qwen2"), "qwen2");
  writeDrawnModel(join(root, "mistral"), "mistral");
  writeDrawnModel(join(root, "short"), "gemma2", { max_position_embeddings: 8 });
  writeDrawnModel(join(root, "endless"), "gemma2", { max_position_embeddings: 100_000 });
});

const generate = (...args: readonly string[]) => runCli(["generate", ...args], root);
const follow = (folder: string, job: Omit<GenerateTextJob, "modelPath">) =>
  generateText({ modelPath: join(root, folder), ...job });

test.each([
  ["qwen2", "dkpdddqkk"],
  ["mistral", "usleu"],
])("%s goes on as transformers' generate does, and ends where it does", async (family, text) => {
  const pieces: string[] = [];
  const result = await follow(family, { prompt: "eaqi", onText: (piece) => pieces.push(piece) });
  expect(result).toMatchObject({ text, promptTokens: 5, tokens: text.length, end: "token" });
  expect(pieces).toEqual([...text]);
});

test("text is streamed behind the prompt, as many tokens as asked for", async () => {
  const { code, stdout, stderr } = await generate("endless", "--prompt", "eaqi", "--max-tokens", "5");
  expect(stdout).toBe("eaqiiiiff\n");
  expect(stderr).toMatch(/^5 tokens \(as many as --max-tokens\), .* tokens\/s; prompt of 5, .* tokens\/s\n$/);
  expect(code).toBe(0);
});

test("a seed draws the same again, another seed others", async () => {
  const draw = async (seed: number) =>
    (await follow("endless", { prompt: "e", maxTokens: 20, temperature: 2, seed })).text;
  expect(await draw(1)).toBe(await draw(1));
  expect(await draw(1)).not.toBe(await draw(2));
});

test("what cannot be generated is said", async () => {
  const prompt = "a";
  await expect(generateText({ modelPath: join(decoderOracles, "llama"), prompt })).rejects.toThrow("no tokenizer.json");
  await expect(follow("qwen2", { prompt: "a".repeat(40) })).rejects.toThrow("41 tokens; the model's context has 32");
  await expect(follow("qwen2", { prompt, topP: 0.5 })).rejects.toThrow("temperature 0 draws none");
  await expect(follow("qwen2", { prompt, temperature: -1 })).rejects.toThrow("temperature is -1");
});

test("a text ends where the model's context is full", async () => {
  expect(await follow("short", { prompt: "eaqi" })).toMatchObject({ tokens: 3, end: "context", text: "iii" });
});

test("inspect says which formats hold a language model's layers", async () => {
  const result = (await runCli(["inspect", "qwen2", "--json"], root)).json() as { formats: { held: HeldForms[] } };
  const formOf = (format: string, bits: number, isSymmetric: boolean) =>
    result.formats.held
      .find((held) => held.format === format)
      ?.forms.find((form) => form.bits === bits && form.isSymmetric === isSymmetric);
  // Rows of 16 and of 20 inputs: only whole ones are whole groups, and none is a block of 32.
  expect(formOf("compressed-tensors", 4, false)?.groupSizes).toEqual(["whole"]);
  expect(result.formats.held.find(({ format }) => format === "gguf")?.refusal).toMatch(/see a window of 5/);
  expect(formOf("gptq", 4, true)?.groupSizes).toEqual([]);
});

test("Ctrl-C ends it within a second", async () => {
  const args = ["generate", "endless", "--prompt", "e", "--max-tokens", "90000"];
  const child = spawn(process.execPath, [cliPath, ...args], { cwd: root });
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const before = performance.now();
  child.kill("SIGINT");
  expect(await new Promise((resolve) => child.once("close", resolve))).toBe(130);
  expect(performance.now() - before).toBeLessThan(1000);
});
