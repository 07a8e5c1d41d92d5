import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { plainReporter } from "./test/support/plain-reporter.ts";

const exclude = process.env["FROSTBIT_SLOW"] ? [] : ["**/*.slow.test.ts"];

/** Tests that load modules and nothing else: they share them, each loaded once. */
const inMemory = ["src/**/*.test.ts", "test/{engines,graphs,onnx,operators,support}/**/*.test.ts"];

export default defineConfig({
  test: {
    // In the order of their names: what takes long comes first.
    projects: [
      { extends: true, test: { name: "alone", include: ["test/**/*.test.ts"], exclude: [...exclude, ...inMemory] } },
      { extends: true, test: { name: "together", include: inMemory, exclude, isolate: false } },
    ],
    reporters: ["default", plainReporter],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    // What tests measure is not the user's.
    env: { XDG_CACHE_HOME: join(import.meta.dirname, "build", "test-cache") },
  },
});
