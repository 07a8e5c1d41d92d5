import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readRecipe, recipeText } from "./recipe-file.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit recipes ä-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function recipe(text: string): Promise<string> {
  const path = join(folder, "my recipe.yaml");
  await writeFile(path, text);
  return path;
}

test("a recipe with Windows' line ends and a byte order mark is the same recipe", async () => {
  const lines = ["quantize:", "  weights: 4", "  layers: { '*.conv': 8 }", "methods:", "  - qat: { steps: 3 }", ""];
  const plain = await readRecipe(await recipe(lines.join("\n")));
  expect(plain.quantize).toMatchObject({ weights: 4, layers: { "*.conv": 8 } });
  expect(plain.methods).toMatchObject([{ method: "ptq" }, { method: "qat", options: { steps: 3 } }]);
  expect(await readRecipe(await recipe(`\ufeff${lines.join("\r\n")}`))).toEqual(plain);
  expect(await readRecipe(await recipe(recipeText(plain)))).toEqual(plain);
});

test.each(["quantize: { layers: { *.conv : 8 } }", "quantize:\n  layers:\n    *.conv : 8"])(
  "a pattern without quotes, which YAML takes for a reference, is told to have them: %j",
  async (text) => {
    await expect(readRecipe(await recipe(text))).rejects.toMatchObject({
      code: "BAD_OPTION",
      message: expect.stringMatching(/my recipe\.yaml: .*\*.*in quotes: '\*\.conv'\.$/),
    });
  },
);

test("references that stand for more and more are refused as that", async () => {
  const tens = (name: string): string => `[${Array.from({ length: 10 }, () => name).join(", ")}]`;
  const lines = [`a: &a ${tens("x")}`, `b: &b ${tens("*a")}`, `c: &c ${tens("*b")}`, `d: ${tens("*c")}`];
  await expect(readRecipe(await recipe(lines.join("\n")))).rejects.toMatchObject({
    code: "BAD_OPTION",
    message: expect.stringMatching(/Excessive alias count indicates a resource exhaustion attack\.$/),
  });
});
