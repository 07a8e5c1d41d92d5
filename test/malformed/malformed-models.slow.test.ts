// 50,000 malformed models, in processes of 2,500: FROSTBIT_SLOW=1 npx vitest run test/malformed
import { expect, test } from "vitest";
import { baseModels, readMalformed } from "./malformed-models.ts";

const bases = baseModels();
const firstSeeds = Array.from({ length: 20 }, (_, i) => 100_000 + 2500 * i);

test.each(firstSeeds)(
  "2,500 malformed models from seed %i are refused clearly or run",
  async (first) => {
    const { wrong } = await readMalformed(bases, first, 2500);
    expect(wrong).toEqual([]);
  },
  1_800_000,
);
