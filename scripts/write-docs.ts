// Writes docs/methods/*.md: each method's README, and the table of its options from their schemas.
// Run: npx tsc -p tsconfig.bench.json && node build/scripts/write-docs.js
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { methodPages } from "./method-pages.ts";

const root = join(import.meta.dirname, "..", "..");
mkdirSync(join(root, "docs", "methods"), { recursive: true });
for (const [name, page] of methodPages((path) => readFileSync(join(root, path), "utf8")))
  writeFileSync(join(root, "docs", "methods", name), page);
