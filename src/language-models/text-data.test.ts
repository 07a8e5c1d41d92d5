import { expect, test } from "vitest";
import { toNumbers } from "../ir/tensor.ts";
import { parseDocuments, predictionsOf, sequencesOf, textDataset } from "./text-data.ts";

test("documents are entries of arrays, lines, or all of a file", () => {
  expect(parseDocuments("a.json", '["one", {"text": "two", "id": 3}]')).toEqual(["one", "two"]);
  expect(parseDocuments("a.jsonl", '{"text": "one"}\n\n"two"\n')).toEqual(["one", "two"]);
  expect(parseDocuments("a.txt", '["one"]\n')).toEqual(['["one"]\n']);
});

test.each([
  ["a.json", '{"text": "one"}', "a.json: it is JSON, but no array of documents."],
  ["a.json", "[1]", 'a.json: document 0 is no text, and no object with a "text".'],
  ["a.json", "one", "a.json: it is not JSON."],
  ["a.jsonl", '"one"\ntwo', "a.jsonl: it is not JSON in line 2."],
  ["a.txt", "", "a.txt: there is no text in it."],
])("%s with %j is refused", (file, text, message) => {
  expect(() => parseDocuments(file, text)).toThrow(message);
});

const documents = [[1, 2, 3], [4], [5, 6, 7, 8, 9]];

test("documents are cut, or packed into full windows", () => {
  expect(sequencesOf(documents, "documents", 4)).toEqual([[1, 2, 3], [4], [5, 6, 7, 8]]);
  expect(sequencesOf(documents, "packed", 4)).toEqual([
    [1, 2, 3, 4],
    [5, 6, 7, 8],
  ]);
  expect(predictionsOf(sequencesOf(documents, "documents", 4))).toBe(5);
});

test("each token but the last has the next one as its label; what fills a sequence has none", async () => {
  const dataset = textDataset("text", sequencesOf(documents, "documents", 4));
  expect(dataset.length).toBe(2);
  const { inputs, labels } = await dataset.read(Int32Array.of(1, 0));
  expect(toNumbers(inputs.get("input_ids")!)).toEqual([5, 6, 7, 8, 1, 2, 3, 0]);
  expect(toNumbers(labels!)).toEqual([6, 7, 8, -100, 2, 3, -100, -100]);
});

test("text too short for one sequence is refused", () => {
  expect(() => textDataset("a.txt", sequencesOf(documents, "packed", 20))).toThrow("a.txt: its text gives no sequence");
});
