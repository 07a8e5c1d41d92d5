// MPI as what carries bytes between processes: the addon of the installed MPI, built in this clone.
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { setImmediate, setTimeout } from "node:timers/promises";
import type { Pending, Transport } from "../distributed/transport.ts";
import { ownFolder } from "../engines/native/find-addon.ts";
import { FrostbitError } from "../ir/errors.ts";

export const mpis = ["openmpi", "mpich"] as const;
/** Which MPI an addon was built for: each has a binary interface, and a way to start, of its own. */
export type Mpi = (typeof mpis)[number];

interface MpiAddon {
  /** Throws where the addon's MPI cannot start; by itself, as one process, where it does not know who started it. */
  start(): { readonly rank: number; readonly size: number; readonly library: string };
  readonly Message: new (isSent: boolean, peer: number, channel: number, bytes: Uint8Array) => { isDone(): boolean };
  waiting(channel: number): number;
  /** Returns once all processes call it. */
  finish(): void;
  abort(code: number): void;
}

export interface MpiTransport extends Transport {
  /** MPI's own words, as "Open MPI v4.1.4, …". */
  readonly library: string;
  readonly finish: () => void;
  /** Ends all processes; they need not answer. */
  readonly abort: (code: number) => void;
}

const fileOf = (mpi: Mpi): string => join(ownFolder(), "native", "build", `mpi-${mpi}.node`);

export const isBuilt = (mpi: Mpi): boolean => existsSync(fileOf(mpi));

const pendingOf = (message: { isDone(): boolean }): Pending => ({ isDone: () => message.isDone() });

/** Turns in which answers are looked for at once; afterwards the processor is left to others. */
const busyTurns = 500;

/** Joins the other processes, which all call it. Throws ENGINE where the addon cannot be loaded. */
export function startMpi(mpi: Mpi): MpiTransport {
  const addon = loadMpi(mpi);
  const { rank, size, library } = addon.start();
  return {
    rank,
    size,
    library: library.split("\n")[0].trim(),
    send: (to, channel, bytes) => pendingOf(new addon.Message(true, to, channel, bytes)),
    receive: (from, channel, into) => pendingOf(new addon.Message(false, from, channel, into)),
    waiting: (channel) => {
      const from = addon.waiting(channel);
      return from < 0 ? undefined : from;
    },
    pause: async (turns) => {
      await (turns < busyTurns ? setImmediate() : setTimeout(1));
    },
    finish: () => addon.finish(),
    abort: (code) => addon.abort(code),
  };
}

/**
 * Open MPI's components look for its names among those of the whole process. UCX, which carries MPICH's messages, would take over
 * how the process asks for memory and gives it back, so that V8 now and then finds its own gone; without, it registers memory
 * for each message.
 */
function loadMpi(mpi: Mpi): MpiAddon {
  process.env.UCX_MEM_EVENTS ??= "n";
  const loaded = { exports: {} as MpiAddon };
  try {
    process.dlopen(loaded, fileOf(mpi), constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new FrostbitError(
      "ENGINE",
      `The addon for ${mpi} cannot be loaded: ${reason}. Build it again: FROSTBIT_MPI=${mpi} npm run build:mpi`,
      { cause },
    );
  }
  return loaded.exports;
}
