// The kernels that a run computes with: kept beside its checkpoint, so that a resumed run computes with the same, and agreed on
// by the processes that compute one run.
import { hostname } from "node:os";
import { z } from "zod";
import type { Storage } from "../data/storage.ts";
import type { Communicator } from "../distributed/communicator.ts";
import type { KernelChoices, Tuning } from "../engines/engine.ts";
import { rememberedKernels } from "../engines/native/choose-kernels.ts";
import { kernelCachePath } from "../engines/native/kernel-cache.ts";
import { FrostbitError } from "../ir/errors.ts";

const kernelsFile = "kernels.json";
const kernelsSchema = z.record(z.string(), z.string());

const textOf = (chosen: ReadonlyMap<string, string>): Uint8Array =>
  new TextEncoder().encode(`${JSON.stringify(Object.fromEntries(chosen), null, 1)}\n`);

/** What the run chose that left the checkpoints in `storage`; nothing where it chose nothing. Throws IO where it cannot be read. */
export async function savedKernels(storage: Storage): Promise<Map<string, string>> {
  const bytes = await storage.read(kernelsFile);
  if (!bytes) return new Map();
  try {
    return new Map(Object.entries(kernelsSchema.parse(JSON.parse(new TextDecoder().decode(bytes)))));
  } catch (cause) {
    throw new FrostbitError(
      "IO",
      `The checkpoint's "${kernelsFile}" does not say which kernels the run computed with. Remove the checkpoint folder and start again.`,
      { cause },
    );
  }
}

/** The same storage, in which the kernels chosen by then are written before anything that was computed with them. */
export function withKernels(storage: Storage, chosen: ReadonlyMap<string, string>): Storage {
  let written = 0;
  return {
    ...storage,
    write: async (name, bytes) => {
      if (chosen.size > written) {
        written = chosen.size;
        await storage.write(kernelsFile, textOf(chosen));
      }
      await storage.write(name, bytes);
    },
  };
}

/**
 * What all processes compute with: what process 0 has chosen already. On one machine they then measure and remember together; those of
 * several take what process 0's remembers of so many threads, and rules for the rest.
 */
export async function agreeOnKernels(
  own: KernelChoices,
  threads: number,
  communicator: Communicator,
): Promise<KernelChoices> {
  const path = kernelCachePath();
  const place = `${hostname()} ${path}`;
  const places = (await communicator.gather(new TextEncoder().encode(place))).map((bytes) =>
    new TextDecoder().decode(bytes),
  );
  const isOnePlace = places.every((each) => each === places[0]);
  const remembered = own.tuning === "off" || isOnePlace ? [] : rememberedKernels(path, threads);
  const tuning: Tuning = isOnePlace ? own.tuning : "off";
  const chosen = [...remembered, ...own.chosen];
  const told = await communicator.broadcast(new TextEncoder().encode(JSON.stringify({ tuning, chosen })));
  const agreed = JSON.parse(new TextDecoder().decode(told)) as { tuning: Tuning; chosen: [string, string][] };
  return { ...own, tuning: agreed.tuning, chosen: new Map(agreed.chosen) };
}
