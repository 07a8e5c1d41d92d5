// The kernels of a run: kept beside its checkpoint, and agreed on by several processes, all of them in this one.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, expect, test, vi } from "vitest";
import { inMemoryRanks } from "../../test/support/in-memory-ranks.ts";
import { isNativeBuilt } from "../../test/support/native.ts";
import { memoryStorage } from "../data/storage.ts";
import { type Communicator, createCommunicator } from "../distributed/communicator.ts";
import type { KernelChoices, Tuning } from "../engines/engine.ts";
import { machineOf } from "../engines/native/choose-kernels.ts";
import { canRemember, kernelCachePath, rememberKernels } from "../engines/native/kernel-cache.ts";
import { agreeOnKernels, savedKernels, withKernels } from "./run-kernels.ts";

const folder = mkdtempSync(join(tmpdir(), "frostbit-run-kernels-"));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

test("kernels are written before what was computed with them, and only where there are new ones", async () => {
  const storage = memoryStorage();
  const written: string[] = [];
  const chosen = new Map<string, string>();
  const noting = async (name: string, bytes: Uint8Array): Promise<void> => {
    written.push(name);
    await storage.write(name, bytes);
  };
  const keeping = withKernels({ ...storage, write: noting }, chosen);
  await keeping.write("state.json", Uint8Array.of(1));
  chosen.set("forward float32 8", "convolution");
  await keeping.write("variables-4.safetensors", Uint8Array.of(2));
  await keeping.write("state.json", Uint8Array.of(3));
  expect(written).toEqual(["state.json", "kernels.json", "variables-4.safetensors", "state.json"]);
  expect(await savedKernels(storage)).toEqual(chosen);
  expect(await savedKernels(memoryStorage())).toEqual(new Map());
});

test("a checkpoint whose kernels cannot be read is refused", async () => {
  const storage = memoryStorage();
  await storage.write("kernels.json", new TextEncoder().encode('{"forward": 7}'));
  await expect(savedKernels(storage)).rejects.toThrow(
    'The checkpoint\'s "kernels.json" does not say which kernels the run computed with. Remove the checkpoint folder',
  );
});

const opened = (size: number): Promise<Communicator[]> =>
  Promise.all(
    inMemoryRanks(size).map((transport, rank) =>
      createCommunicator(transport, { timeoutMs: 10_000, name: `machine-${rank}, 17` }),
    ),
  );

const own = (tuning: Tuning, chosen: readonly (readonly [string, string])[] = []): KernelChoices => ({
  tuning,
  chosen: new Map(chosen),
});

test("processes of one machine go on with what process 0 has chosen, and measure together", async () => {
  const ranks = await opened(2);
  const told = [own("fast", [["a", "first"]]), own("fast", [["a", "second"]])];
  const agreed = await Promise.all(ranks.map((communicator, rank) => agreeOnKernels(told[rank], 2, communicator)));
  for (const kernels of agreed) expect(kernels).toEqual(own("fast", [["a", "first"]]));
});

test.skipIf(!isNativeBuilt)(
  "processes of several machines take what process 0's remembers, and measure nothing",
  async () => {
    vi.stubEnv("XDG_CACHE_HOME", folder);
    const path = kernelCachePath();
    await canRemember(path);
    const answer = (kernel: string) => ({ kernel, tuning: "fast" as const, ms: {} });
    const answers = new Map([
      ["a", answer("remembered")],
      ["b", answer("remembered too")],
    ]);
    await rememberKernels(path, machineOf(2), answers);
    const [first, second] = await opened(2);
    const agreed = [agreeOnKernels(own("fast", [["a", "of the checkpoint"]]), 2, first)];
    vi.stubEnv("XDG_CACHE_HOME", join(folder, "of another machine"));
    agreed.push(agreeOnKernels(own("fast"), 2, second));
    for (const kernels of await Promise.all(agreed)) {
      expect(kernels.tuning).toBe("off");
      expect(Object.fromEntries(kernels.chosen)).toEqual({ a: "of the checkpoint", b: "remembered too" });
    }
  },
);
