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
  },
});
