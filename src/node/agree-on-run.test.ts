// What several processes tell each other before a run, all of them in this process.
import { expect, test } from "vitest";
import { inMemoryRanks } from "../../test/support/in-memory-ranks.ts";
import { memoryStorage } from "../data/storage.ts";
import { type Communicator, createCommunicator } from "../distributed/communicator.ts";
import { runOptions } from "../options/recipe.ts";
import { agreeOn, checkShared, sharedCheckpoints } from "./agree-on-run.ts";

const opened = (size: number): Promise<Communicator[]> =>
  Promise.all(
    inMemoryRanks(size).map((transport, rank) =>
      createCommunicator(transport, { timeoutMs: 10_000, name: `machine-${rank}, 17` }),
    ),
  );

const same = { threads: "4", seed: "0", data: `cifar10 ${"a".repeat(64)}` };

test("processes that were told the same go on", async () => {
  const ranks = await opened(4);
  await Promise.all(ranks.map((communicator) => agreeOn(same, communicator)));
});

test("each that differs is named, with what does, to all of them", async () => {
  const ranks = await opened(4);
  const told = [same, same, { ...same, threads: "8" }, { ...same, data: `cifar10 ${"b".repeat(64)}` }];
  const ends = await Promise.allSettled(ranks.map((communicator, rank) => agreeOn(told[rank] ?? same, communicator)));
  for (const end of ends)
    expect(String((end as PromiseRejectedResult).reason)).toContain(
      "process 2 (machine-2, 17): threads is 4 in process 0 and 8 here. process 3 (machine-3, 17): data differs.",
    );
});

test("others begin with the checkpoint of process 0 where it resumes, and write none of its files", async () => {
  const ranks = await opened(2);
  const [first, second] = [memoryStorage(), memoryStorage()];
  await first.write("state.json", Uint8Array.of(1, 2));
  await first.write("variables-4.safetensors", Uint8Array.of(3));
  const of = (resume: boolean) =>
    Promise.all(
      ranks.map((communicator, rank) =>
        sharedCheckpoints({ storage: rank === 0 ? first : second, fingerprint: "run", resume }, communicator),
      ),
    );
  const [, copy] = await of(true);
  expect(copy?.resume).toBe(true);
  expect(await copy?.storage.list()).toEqual(["state.json", "variables-4.safetensors"]);
  expect(await copy?.storage.read("state.json")).toEqual(Uint8Array.of(1, 2));
  await copy?.storage.write("variables-8.safetensors", Uint8Array.of(4));
  expect(await first.list()).toEqual(["state.json", "variables-4.safetensors"]);
  const [, empty] = await of(false);
  expect(await empty?.storage.list()).toEqual([]);
});

test("what processes cannot share is refused", () => {
  const run = (method: string, options: object) => runOptions.parse({ methods: [{ [method]: options }] });
  expect(() => checkShared(run("qat", { accumulate: 8 }), 4)).not.toThrow();
  expect(() => checkShared(run("qat", { accumulate: 2 }), 4)).toThrow(
    "qat.accumulate is 2; expected a multiple of the 4",
  );
  expect(() => checkShared(run("qat", { accumulate: 4, memoryLimit: 100 }), 4)).toThrow("qat.memoryLimit is 100");
  expect(() => checkShared(runOptions.parse({ goal: {} }), 2)).toThrow("2 processes share one run");
  for (const method of ["ptq", "gptq"]) expect(() => checkShared(run(method, {}), 2)).not.toThrow();
});
