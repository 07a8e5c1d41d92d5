// Ends vitest's output with one line that a program can read: "12 passed, 0 failed, 3 skipped".
import type { Reporter, TestModule } from "vitest/node";

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

function countTests(modules: readonly TestModule[], unhandledErrors: number): Counts {
  const counts: Counts = { passed: 0, failed: unhandledErrors, skipped: 0 };
  for (const module of modules) {
    counts.failed += module.errors().length;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state !== "pending") counts[state]++;
    }
    for (const suite of module.children.allSuites()) counts.failed += suite.errors().length;
  }
  return counts;
}

/** Written as the process ends, after what other reporters say. */
export const plainReporter: Reporter = {
  onTestRunEnd(modules, errors) {
    const { passed, failed, skipped } = countTests(modules, errors.length);
    process.once("exit", () => process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`));
  },
};
