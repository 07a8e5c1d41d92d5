// 25 kills at random moments: FROSTBIT_SLOW=1 npx vitest run test/cli/durability
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createRandom } from "../support/random.ts";
import { killAndResume, modelIn, runOnce, shortRun, writeInputs } from "./durability.ts";

test("killed 25 times and resumed, a run leaves the bytes of one that was never stopped", async () => {
  const folder = mkdtempSync(join(tmpdir(), "frostbit-durability-"));
  try {
    writeInputs(folder);
    const start = performance.now();
    await runOnce(folder, [...shortRun, "--out", "whole"]);
    const wholeMs = performance.now() - start;
    const random = createRandom(process.pid);
    let kills = 0;
    for (let round = 0; kills < 25; round++) {
      const moment = (): number => (wholeMs * random.integer(0, 1000)) / 1000;
      const { kills: more, last } = await killAndResume(folder, `killed-${round}`, 5, moment);
      kills += more;
      expect(last.code, last.stderr).toBe(0);
      expect(modelIn(folder, `killed-${round}`)).toEqual(modelIn(folder, "whole"));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 3_600_000);
