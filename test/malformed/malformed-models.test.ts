// Mutated bytes and mutated graphs: a clear error or a run, never a crash, a hang or more memory than ten times the file and 200 MB.
import { expect, test } from "vitest";
import { baseModels, readMalformed } from "./malformed-models.ts";

const first = Number(process.env["FROSTBIT_FUZZ_SEED"] ?? "1");

test("2,000 malformed models are refused clearly or run", async () => {
  const { outcomes, wrong } = await readMalformed(baseModels(), { first, count: 2000 });
  expect(wrong).toEqual([]);
  const ran = Object.entries(outcomes).filter(([outcome]) => outcome.startsWith("ran"));
  expect(ran.length, JSON.stringify(outcomes)).toBeGreaterThan(1);
  expect(outcomes["BAD_MODEL"], JSON.stringify(outcomes)).toBeGreaterThan(200);
}, 600_000);
