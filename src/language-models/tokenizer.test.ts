import { join } from "node:path";
import { expect, test } from "vitest";
import { describeWithData, readBytes } from "../../test/support/frostbit-data.ts";
import { modelFolder } from "../node/read-model.ts";
import { openTokenizer } from "./tokenizer.ts";

const nothing = { holds: () => false, open: () => expect.unreachable() };

test("a folder without a tokenizer, or with SentencePiece's alone, is refused", async () => {
  await expect(openTokenizer(nothing, "model")).rejects.toThrow("model: there is no tokenizer.json");
  const sentencePiece = { ...nothing, holds: (file: string) => file === "tokenizer.model" };
  await expect(openTokenizer(sentencePiece, "model")).rejects.toThrow("save_pretrained(folder), from Python");
});

describeWithData("stories260k", (data) => {
  test("gives the ids of the data set, and the text again", async () => {
    const tokenizer = await openTokenizer(modelFolder(join(data, "stories260k/hf")), "stories260k");
    const json = (file: string) => JSON.parse(new TextDecoder().decode(readBytes(data, "stories260k", file)));
    const texts: string[] = json("tinystories_eval.json").slice(0, 40);
    const ids: number[][] = json("tinystories_eval_tokens.json").slice(0, 40);
    expect(texts.map((text) => tokenizer.encode(text).slice(0, 512))).toEqual(ids);
    expect(tokenizer.decode(tokenizer.encode(texts[0]))).toBe(texts[0]);
  });
});
