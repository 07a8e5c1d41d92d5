// 20,000 mutated models, in processes of 1,000, and 600 that are quantized: FROSTBIT_SLOW=1 npx vitest run test/differential. Others, as long runs may be cut:
// FROSTBIT_FUZZ_FIRST=100000 FROSTBIT_FUZZ_COUNT=10000; with a line for each that one side alone refuses:
// FROSTBIT_FUZZ_MESSAGES=refused.txt.
import { expect, test } from "vitest";
import { compareMutated, quantizeMutated } from "./compare-mutated.ts";

const setting = (name: string, otherwise: string): string => process.env[`FROSTBIT_FUZZ_${name}`] ?? otherwise;

const inOneProcess = 1000;
const start = Number(setting("FIRST", "100000"));
const count = Number(setting("COUNT", "20000"));
const firstSeeds = Array.from({ length: Math.ceil(count / inOneProcess) }, (_, i) => start + inOneProcess * i);

test.each(firstSeeds)(
  "1,000 mutated models from seed %i compute what they compute in ONNX Runtime, or are refused",
  async (first) => {
    const part = { first, count: Math.min(inOneProcess, start + count - first), messages: setting("MESSAGES", "") };
    const { outcomes, wrong } = await compareMutated(part);
    process.stderr.write(`from ${first}: ${JSON.stringify(outcomes)}\n`);
    expect(wrong).toEqual([]);
  },
  1_800_000,
);

test.each([100_000, 100_200, 100_400])(
  "200 mutated networks from seed %i are quantized to what was reported, or refused",
  async (first) => {
    const { outcomes, wrong } = await quantizeMutated({ first, count: 200, messages: setting("MESSAGES", "") });
    process.stderr.write(`quantized from ${first}: ${JSON.stringify(outcomes)}\n`);
    expect(wrong).toEqual([]);
  },
  1_800_000,
);
