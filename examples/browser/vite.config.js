// Serves and bundles the example from a clone, straight from Frostbit's sources; a project that has installed Frostbit needs no alias.
import { join } from "node:path";
import { defineConfig } from "vite";

export default defineConfig({
  root: import.meta.dirname,
  base: "./",
  resolve: { alias: { "frostbit/browser": join(import.meta.dirname, "../../src/browser/index.ts") } },
  build: { target: "es2023", outDir: join(import.meta.dirname, "../../build/browser"), emptyOutDir: true },
  worker: { format: "es" },
});
