// Several processes evaluate one file: each runs its batches, and all have the figures of one.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inMemoryCommunicators } from "../../test/support/in-memory-ranks.ts";
import { tinyCifar10, tinyConvNet } from "../../test/support/tiny-models.ts";
import { resolvePreprocess } from "../data/preprocess.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import type { Metrics } from "../evaluate/metrics.ts";
import { evaluateFile, evaluateOpenedAmong } from "./evaluate-file.ts";
import { openTestData } from "./open-data.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "frostbit-evaluate-"));
  writeFileSync(join(folder, "test_batch.bin"), tinyCifar10(200, 2));
  writeFileSync(join(folder, "data_batch_1.bin"), tinyCifar10(10, 1));
  writeFileSync(join(folder, "conv.onnx"), tinyConvNet({ size: 32 }));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const jobIn = async (where: string) => ({
  modelPath: join(where, "conv.onnx"),
  dataset: await openTestData(`cifar10:${where}`),
  preprocess: resolvePreprocess("imagenet"),
  threads: 1,
});

/** What each process gives, and how many batches it ran. */
async function evaluated(size: number): Promise<readonly { metrics: Metrics | undefined; runs: number }[]> {
  const job = await jobIn(folder);
  const ranks = await inMemoryCommunicators(size);
  return Promise.all(
    ranks.map(async (communicator) => {
      const file = await openDeployed(job.modelPath, { threads: 1 });
      let runs = 0;
      const counted: typeof file = {
        ...file,
        run: (...given) => {
          runs++;
          return file.run(...given);
        },
      };
      const metrics = await evaluateOpenedAmong(counted, job, communicator);
      await file.dispose();
      return { metrics, runs };
    }),
  );
}

test.each([1, 2, 4])("%i processes run a part of the batches each, and have the figures of one", async (size) => {
  const alone = await evaluateFile(await jobIn(folder));
  const ranks = await evaluated(size);
  expect(ranks.map(({ runs }) => runs)).toEqual(Array.from({ length: size }, () => 4 / size));
  for (const { metrics } of ranks) expect(metrics).toEqual(alone);
});

test("of more processes than batches, some run nothing", async () => {
  const ranks = await evaluated(8);
  expect(ranks.map(({ runs }) => runs)).toEqual([1, 0, 1, 0, 1, 0, 1, 0]);
  expect(ranks[0].metrics).toEqual(await evaluateFile(await jobIn(folder)));
});
