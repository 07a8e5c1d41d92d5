// Several processes compute one run: what of it they can share, and that all of them were told the same.

import { memoryStorage, type Storage } from "../data/storage.ts";
import type { Communicator } from "../distributed/communicator.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { RunOptions } from "../options/run-options.ts";
import type { CheckpointOptions } from "../training/checkpoint.ts";
import { differencesBetween, type RunFields } from "./claim-out.ts";

const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytesOf = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

/** Throws BAD_OPTION where so many processes cannot share a run. */
export function checkShared({ goal, methods }: RunOptions, size: number): void {
  const refuse = (message: string): never => {
    throw new FrostbitError("BAD_OPTION", message);
  };
  if (goal)
    refuse(
      `A goal tries one run after the other, and ${size} processes share one run. Name the methods: --method efqat --accumulate ${size}.`,
    );
  for (const { method, options } of methods) {
    const { accumulate, memoryLimit } = options;
    if (accumulate === undefined) continue;
    if (Number(accumulate) % size !== 0)
      refuse(
        `${method}.accumulate is ${String(accumulate)}; expected a multiple of the ${size} processes, which compute so many parts of each batch: --accumulate ${size}. Its number decides the bytes, the number of processes does not.`,
      );
    if (memoryLimit !== undefined)
      refuse(
        `${method}.memoryLimit is ${String(memoryLimit)}, which chooses the parts of a batch by itself; several processes need to know them. Give --accumulate instead.`,
      );
  }
}

/** Throws BAD_OPTION, everywhere, where a process was told something else than process 0, or would compute something else. */
export async function agreeOn(fields: RunFields, communicator: Communicator): Promise<void> {
  const all = (await communicator.gather(bytesOf(fields))).map((bytes) => JSON.parse(textOf(bytes)) as RunFields);
  const { names } = communicator;
  const problems = all.flatMap((each, rank) => {
    const list = differencesBetween(all[0], each, ([first, other]) => `is ${first} in process 0 and ${other} here`);
    return list.length === 0 ? [] : [`${names[rank]}: ${list.join("; ")}`];
  });
  const verdict = textOf(await communicator.broadcast(new TextEncoder().encode(problems.join(". "))));
  if (verdict === "") return;
  throw new FrostbitError(
    "BAD_OPTION",
    `The processes would not compute the same run. ${verdict}. Give all of them the same model, data and options, on machines with the same instruction sets.`,
  );
}

/** The storage of process 0; the others' are in memory, and begin with what it has where the run is resumed. */
export async function sharedCheckpoints(
  own: CheckpointOptions,
  communicator: Communicator,
): Promise<CheckpointOptions> {
  const { storage, fingerprint } = own;
  const isFirst = communicator.rank === 0;
  const names = isFirst && own.resume ? await storage.list() : [];
  const told = JSON.parse(textOf(await communicator.broadcast(bytesOf({ resume: own.resume, names })))) as {
    readonly resume: boolean;
    readonly names: readonly string[];
  };
  const copy: Storage = isFirst ? storage : memoryStorage();
  for (const name of told.names) {
    const bytes = isFirst ? await storage.read(name) : undefined;
    const sent = await communicator.broadcast(bytes ?? new Uint8Array());
    if (!isFirst) await copy.write(name, sent);
  }
  return { storage: copy, fingerprint, resume: told.resume };
}
