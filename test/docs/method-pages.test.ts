import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { methodPages } from "../../scripts/method-pages.ts";

const root = join(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");

test.each([...methodPages(read)])("docs/methods/%s is what scripts/write-docs.ts writes", (name, page) => {
  expect(read(`docs/methods/${name}`)).toBe(page);
});
