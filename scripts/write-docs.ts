// Writes the pages of docs/ that come from the code: methods, commands, options and the report. Run: npm run docs
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { writtenPages } from "./written-pages.ts";

const root = join(import.meta.dirname, "..", "..");
for (const [name, page] of writtenPages((path) => readFileSync(join(root, path), "utf8"))) {
  const file = join(root, "docs", name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, page);
}
