// One training shared by several processes, all of them in this one: the bytes of one process, on the reference engine.
import { expect, test } from "vitest";
import { type Batch, shareOf } from "../../src/data/batches.ts";
import { memoryStorage, type Storage } from "../../src/data/storage.ts";
import { type Communicator, createCommunicator } from "../../src/distributed/communicator.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { numbersOf, type Tensor, tensorOf, toNumbers } from "../../src/ir/tensor.ts";
import { efqat } from "../../src/methods/efqat/efqat.ts";
import { efqatOptions } from "../../src/methods/efqat/options.ts";
import type { Context } from "../../src/run/context.ts";
import { trainingOptions } from "../../src/training/options.ts";
import { type TrainingResult, trainByPlan } from "../../src/training/train-by-plan.ts";
import { inMemoryRanks } from "../support/in-memory-ranks.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../support/tiny-classifier.ts";

const batch = 8;
const steps = 4;
const model = quantizeTiny(tinyClassifier("float32"));
const samples = Int32Array.from({ length: batch }, (_, i) => i);

/** The rows of these samples. */
function rowsOf({ dtype, shape: [all, ...shape], data }: Tensor, chosen: Int32Array): Tensor {
  const length = data.length / all;
  const values = toNumbers({ dtype, shape: [all, ...shape], data });
  const kept = Array.from(chosen, (row) => values.slice(row * length, (row + 1) * length)).flat();
  return tensorOf(dtype, [chosen.length, ...shape], kept);
}

interface Trial {
  readonly mode: "cwpl" | "cwpn" | "lwpn";
  readonly storage?: Storage;
  readonly resume?: boolean;
  /** The process whose signal fires, in its second step. */
  readonly stops?: number;
}

function train({ mode, storage, resume = false, stops }: Trial, communicator?: Communicator): Promise<TrainingResult> {
  const chosen = shareOf(samples, communicator);
  const controller = new AbortController();
  const onProgress: Context["onProgress"] = ({ done }) => {
    if (done === batch && stops === communicator?.rank) controller.abort();
  };
  async function* batches(start: number): AsyncGenerator<Batch> {
    for (let index = start; ; index++) {
      const { images, labels } = tinyBatch("float32", batch, index);
      yield {
        index,
        indices: chosen,
        inputs: new Map([["input", rowsOf(images, chosen)]]),
        labels: rowsOf(labels, chosen),
      };
    }
  }
  const options = { batch, accumulate: 4, lr: 0.01, clipNorm: 0.5, freezeStatistics: 1, checkpointEvery: 100 };
  return trainByPlan(
    {
      model,
      options: trainingOptions.parse(options),
      plan: efqat(model, { ...efqatOptions.parse({ mode, updateRatio: 0.4, refreshEvery: 2 * batch }), seed: 3 }),
      steps,
      batches,
      ...(storage && { checkpoints: { storage, fingerprint: "this run", resume } }),
    },
    {
      engine: createReferenceEngine(),
      seed: 0,
      signal: controller.signal,
      ...(stops !== undefined && { onProgress }),
      ...(communicator && { communicator }),
    },
  );
}

const opened = (size: number): Promise<Communicator[]> =>
  Promise.all(
    inMemoryRanks(size).map((transport) => createCommunicator(transport, { timeoutMs: 60_000, name: "here" })),
  );

const bytes = ({ model: { constants }, losses, trainedSteps }: TrainingResult) => ({
  constants: [...constants].map(([name, { data }]) => [name, data]),
  losses,
  trainedSteps: [...trainedSteps],
});

test.each(["cwpl", "cwpn", "lwpn"] as const)("EfQAT (%s) by 2 and 4 processes has the bytes of one", async (mode) => {
  const one = await train({ mode });
  expect(numbersOf(one.model.constants.get("bn1.running_mean") as Tensor)).not.toEqual(
    numbersOf(model.constants.get("bn1.running_mean") as Tensor),
  );
  for (const size of [2, 4]) {
    const all = await Promise.all((await opened(size)).map((communicator) => train({ mode }, communicator)));
    for (const each of all) expect(bytes(each)).toEqual(bytes(one));
  }
});

test("of weights, the rows that train are sent alone", async () => {
  const [first, second] = await opened(2);
  const [{ trainedSteps }] = await Promise.all([train({ mode: "cwpn" }, first), train({ mode: "cwpn" }, second)]);
  const [elements, sent] = [...trainedSteps].reduce(
    ([all, some], [weight, counts]) => {
      const { length } = (model.constants.get(weight) as Tensor).data;
      const trained = counts.reduce((sum, count) => sum + count, 0);
      return [all + steps * length, some + (trained * length) / counts.length];
    },
    [0, 0],
  );
  const others = [...model.constants].filter(([name, { dtype }]) => !trainedSteps.has(name) && dtype === "float32");
  const othersAtMost = steps * others.reduce((sum, [, { data }]) => sum + data.length, 2);
  expect(sent).toBeLessThan(0.6 * elements);
  expect((first as Communicator).traffic().summedBytes / 4).toBeGreaterThan(sent);
  expect((first as Communicator).traffic().summedBytes / 4).toBeLessThanOrEqual(sent + othersAtMost);
});

test("where the signal of one fires, all stop after the same step, and another number of them goes on", async () => {
  const mode = "cwpn";
  const storages = [memoryStorage(), memoryStorage()];
  const ranks = await opened(2);
  const ends = await Promise.allSettled(
    ranks.map((communicator, rank) => train({ mode, stops: 1, storage: storages[rank] as Storage }, communicator)),
  );
  for (const end of ends) expect(String((end as PromiseRejectedResult).reason)).toContain("Stopped after step 2 of 4");
  const copies = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const copy = memoryStorage();
      for (const name of await (storages[0] as Storage).list())
        await copy.write(name, (await (storages[0] as Storage).read(name)) ?? new Uint8Array());
      return copy;
    }),
  );
  const resumed = await Promise.all(
    (await opened(4)).map((communicator, rank) =>
      train({ mode, storage: copies[rank] as Storage, resume: true }, communicator),
    ),
  );
  const one = await train({ mode });
  for (const each of resumed) expect(bytes(each)).toEqual(bytes(one));
});
