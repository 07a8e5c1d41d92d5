// 50,000 malformed models, in processes of 2,500: FROSTBIT_SLOW=1 npx vitest run test/malformed. A part of them, as long runs may be
// cut: FROSTBIT_FUZZ_FIRST=100000 FROSTBIT_FUZZ_COUNT=10000; on one engine: FROSTBIT_FUZZ_ENGINE=native; with a line for each model
// that is refused: FROSTBIT_FUZZ_MESSAGES=refused.txt.
import { expect, test } from "vitest";
import { type EngineName, engineNames } from "../../src/engines/select.ts";
import { baseModels, readMalformed } from "./malformed-models.ts";

const setting = (name: string, otherwise: string): string => process.env[`FROSTBIT_FUZZ_${name}`] ?? otherwise;

const inOneProcess = 2500;
const start = Number(setting("FIRST", "100000"));
const count = Number(setting("COUNT", "50000"));
const messages = setting("MESSAGES", "");
const bases = baseModels();
const firstSeeds = Array.from({ length: Math.ceil(count / inOneProcess) }, (_, i) => start + inOneProcess * i);

function engineOf(name: string): EngineName | "any" {
  const known = [...engineNames, "any" as const].find((other) => other === name);
  if (known === undefined)
    throw new Error(`FROSTBIT_FUZZ_ENGINE is ${name}; expected any or ${engineNames.join(", ")}.`);
  return known;
}

test.each(firstSeeds)(
  "2,500 malformed models from seed %i are refused clearly or run",
  async (first) => {
    const part = { first, count: Math.min(inOneProcess, start + count - first) };
    const { outcomes, wrong } = await readMalformed(bases, {
      ...part,
      engine: engineOf(setting("ENGINE", "any")),
      messages,
    });
    process.stderr.write(`from ${first}: ${JSON.stringify(outcomes)}\n`);
    expect(wrong).toEqual([]);
  },
  1_800_000,
);
