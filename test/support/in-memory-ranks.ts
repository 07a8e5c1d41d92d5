// The processes of a run, all in this one: what a launcher and MPI give, without either.
import { type Communicator, createCommunicator } from "../../src/distributed/communicator.ts";
import type { Transport } from "../../src/distributed/transport.ts";

interface Sent {
  readonly from: number;
  readonly channel: number;
  readonly bytes: Uint8Array;
}

export const inMemoryCommunicators = (size: number): Promise<Communicator[]> =>
  Promise.all(
    inMemoryRanks(size).map((transport, rank) =>
      createCommunicator(transport, { timeoutMs: 10_000, name: `machine-${rank}` }),
    ),
  );

/** Transports of `size` processes. `isSilent`: of a process that neither takes nor gives any more. */
export function inMemoryRanks(size: number, isSilent: (rank: number) => boolean = () => false): readonly Transport[] {
  const boxes: Sent[][] = Array.from({ length: size }, () => []);
  const turn = (): Promise<void> => new Promise((done) => setImmediate(done));
  return boxes.map((box, rank) => ({
    rank,
    size,
    send: (to, channel, bytes) => {
      if (!isSilent(rank)) boxes[to].push({ from: rank, channel, bytes: bytes.slice() });
      return { isDone: () => true };
    },
    receive: (from, channel, into) => {
      let isDone = false;
      return {
        isDone: () => {
          const at = box.findIndex((sent) => sent.from === from && sent.channel === channel);
          if (isDone || at < 0 || isSilent(rank)) return isDone;
          const [{ bytes }] = box.splice(at, 1);
          if (bytes.length !== into.length) throw new Error(`${bytes.length} bytes were sent, ${into.length} expected`);
          into.set(bytes);
          isDone = true;
          return true;
        },
      };
    },
    waiting: (channel) => (isSilent(rank) ? undefined : box.find((sent) => sent.channel === channel)?.from),
    pause: turn,
  }));
}
