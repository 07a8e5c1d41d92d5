import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { plainReporter } from "./test/support/plain-reporter.ts";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    exclude: process.env["FROSTBIT_SLOW"] ? [] : ["**/*.slow.test.ts"],
    reporters: ["default", plainReporter],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    // What tests measure is not the user's.
    env: { XDG_CACHE_HOME: join(import.meta.dirname, "build", "test-cache") },
  },
});
