// The processes that compute one run together: sums in a fixed order, bytes from one to all, and who does not answer.
import { FrostbitError } from "../ir/errors.ts";
import type { Pending, Transport } from "./transport.ts";

export type Floats = Float32Array | Float64Array;

/** What one process has sent in sums. */
export interface Traffic {
  readonly sums: number;
  /** Of the arrays that were summed. */
  readonly summedBytes: number;
  readonly sentBytes: number;
  readonly messages: number;
}

/** All processes call the same functions in the same order. */
export interface Communicator {
  /** This process among all, from 0. Process 0 alone writes files. */
  readonly rank: number;
  /** A power of two. */
  readonly size: number;
  /** What the processes are called in messages. */
  readonly names: readonly string[];
  /** In place, the sums over all processes: of 0 and 1, of 2 and 3, then of those. The same bytes everywhere. */
  readonly sum: (values: Float32Array | Float64Array) => Promise<void>;
  /** What process 0 has, everywhere. */
  readonly broadcast: (bytes: Uint8Array) => Promise<Uint8Array>;
  /** What each process has, in their order, at process 0; nothing elsewhere. */
  readonly gather: (bytes: Uint8Array) => Promise<readonly Uint8Array[]>;
  /** What all processes have, one after the other in their order, everywhere. */
  readonly gatherEverywhere: (bytes: Uint8Array) => Promise<Uint8Array>;
  /** What this process has sent so far. */
  readonly traffic: () => Traffic;
  /** The last call: done everywhere once process 0 makes it, however long that takes. */
  readonly leave: () => Promise<void>;
}

export interface CommunicatorOptions {
  /** How long one process waits for another before it asks who still answers. */
  readonly timeoutMs: number;
  /** What this process is called where it does not answer, as its machine and number. */
  readonly name: string;
}

const channels = { data: 1, question: 2, answer: 3 } as const;
/** For answers, which whoever waits gives at once. */
const answerMs = 2000;
/** MPI counts bytes in 31 bits. */
const pieceBytes = 2 ** 30;

interface Ranks {
  readonly transport: Transport;
  readonly timeoutMs: number;
  names: readonly string[];
  readonly traffic: { sums: number; summedBytes: number; sentBytes: number; messages: number };
}

/** Throws BAD_OPTION where the number of processes is not a power of two. */
export async function createCommunicator(transport: Transport, options: CommunicatorOptions): Promise<Communicator> {
  const { rank, size } = transport;
  if ((size & (size - 1)) !== 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `The run was started as ${size} processes; expected 1, 2, 4, 8 or another power of two, which share the parts of a batch evenly.`,
    );
  const ranks: Ranks = {
    transport,
    timeoutMs: options.timeoutMs,
    names: Array.from({ length: size }, (_, i) => `process ${i}`),
    traffic: { sums: 0, summedBytes: 0, sentBytes: 0, messages: 0 },
  };
  const own = new TextEncoder().encode(`process ${rank} (${options.name})`);
  const texts = (await gather(ranks, own)).map((bytes) => new TextDecoder().decode(bytes));
  const all = await broadcast(ranks, new TextEncoder().encode(JSON.stringify(texts)));
  ranks.names = JSON.parse(new TextDecoder().decode(all)) as string[];
  return {
    rank,
    size,
    names: ranks.names,
    sum: (values) => sumOver(ranks, values),
    broadcast: (bytes) => broadcast(ranks, bytes),
    gather: (bytes) => gather(ranks, bytes),
    gatherEverywhere: async (bytes) => broadcast(ranks, joinBytes(await gather(ranks, bytes))),
    traffic: () => ({ ...ranks.traffic }),
    leave: async () => {
      await broadcast({ ...ranks, timeoutMs: Number.POSITIVE_INFINITY }, empty);
    },
  };
}

const empty = new Uint8Array();

const bytesOf = (values: Floats): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/**
 * Halves are exchanged with the neighbour, quarters with the one after it, and so on; each process then has the sum of its share, and
 * the shares go back the same way: 2 (size − 1) / size of the bytes are sent by each process.
 */
async function sumOver(ranks: Ranks, values: Floats): Promise<void> {
  const { rank, size } = ranks.transport;
  const { traffic } = ranks;
  traffic.sums++;
  traffic.summedBytes += values.byteLength;
  let share: Range = [0, values.length];
  const wholes: Range[] = [];
  for (let distance = 1; distance < size; distance *= 2) {
    const peer = rank ^ distance;
    const [kept, given] = halves(share, rank < peer);
    const other = values.slice(...kept);
    await exchange(ranks, peer, bytesOf(values.subarray(...given)), bytesOf(other));
    const own = values.subarray(...kept);
    for (let i = 0; i < own.length; i++) own[i] += other[i];
    wholes.push(share);
    share = kept;
  }
  for (let distance = size / 2; distance >= 1; distance /= 2) {
    const peer = rank ^ distance;
    const whole = wholes.pop() ?? share;
    const [own, others] = halves(whole, rank < peer);
    await exchange(ranks, peer, bytesOf(values.subarray(...own)), bytesOf(values.subarray(...others)));
    share = whole;
  }
}

type Range = readonly [start: number, end: number];

/** The lower one first for the lower process. */
function halves([start, end]: Range, isLower: boolean): readonly [Range, Range] {
  const middle = start + Math.ceil((end - start) / 2);
  const [low, high]: readonly [Range, Range] = [
    [start, middle],
    [middle, end],
  ];
  return isLower ? [low, high] : [high, low];
}

async function exchange(ranks: Ranks, peer: number, out: Uint8Array, into: Uint8Array): Promise<void> {
  ranks.traffic.sentBytes += out.byteLength;
  ranks.traffic.messages += pieces(out).length;
  await finished(ranks, [...receiving(ranks, peer, into), ...sending(ranks, peer, out)]);
}

const pieces = (bytes: Uint8Array): readonly Uint8Array[] =>
  Array.from({ length: Math.ceil(bytes.byteLength / pieceBytes) }, (_, i) =>
    bytes.subarray(i * pieceBytes, (i + 1) * pieceBytes),
  );

const sending = ({ transport }: Ranks, peer: number, bytes: Uint8Array): readonly Pending[] =>
  pieces(bytes).map((piece) => transport.send(peer, channels.data, piece));

const receiving = ({ transport }: Ranks, peer: number, bytes: Uint8Array): readonly Pending[] =>
  pieces(bytes).map((piece) => transport.receive(peer, channels.data, piece));

const others = ({ transport: { rank, size } }: Ranks): readonly number[] =>
  Array.from({ length: size }, (_, i) => i).filter((i) => i !== rank);

const lengthOf = (bytes: Uint8Array): Uint8Array => bytesOf(Float64Array.of(bytes.byteLength));

async function receiveAny(ranks: Ranks, peer: number): Promise<Uint8Array> {
  const length = new Float64Array(1);
  await finished(ranks, receiving(ranks, peer, bytesOf(length)));
  const bytes = new Uint8Array(length[0]);
  await finished(ranks, receiving(ranks, peer, bytes));
  return bytes;
}

async function broadcast(ranks: Ranks, bytes: Uint8Array): Promise<Uint8Array> {
  if (ranks.transport.rank > 0) return receiveAny(ranks, 0);
  const length = lengthOf(bytes);
  await finished(
    ranks,
    others(ranks).flatMap((peer) => [...sending(ranks, peer, length), ...sending(ranks, peer, bytes)]),
  );
  return bytes;
}

async function gather(ranks: Ranks, bytes: Uint8Array): Promise<readonly Uint8Array[]> {
  if (ranks.transport.rank > 0) {
    await finished(ranks, [...sending(ranks, 0, lengthOf(bytes)), ...sending(ranks, 0, bytes)]);
    return [];
  }
  const all = [bytes];
  for (const peer of others(ranks)) all.push(await receiveAny(ranks, peer));
  return all;
}

function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((total, { byteLength }) => total + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.byteLength;
  }
  return all;
}

/** Throws ENGINE, naming the processes that do not answer, where it takes too long. */
async function finished(ranks: Ranks, pending: readonly Pending[]): Promise<void> {
  const { transport, timeoutMs } = ranks;
  let left = pending;
  const started = performance.now();
  for (let turns = 0; ; turns++) {
    left = left.filter(({ isDone }) => !isDone());
    if (left.length === 0) return;
    answerAll(ranks);
    if (performance.now() - started > timeoutMs) throw await noAnswer(ranks);
    await transport.pause(turns);
  }
}

/** Who waits answers whoever asks. */
function answerAll({ transport }: Ranks): void {
  for (let asking = transport.waiting(channels.question); asking !== undefined; ) {
    transport.receive(asking, channels.question, empty).isDone();
    transport.send(asking, channels.answer, empty).isDone();
    asking = transport.waiting(channels.question);
  }
}

/** Asks the others: those that wait as well answer, and those that are waited for do not. */
async function noAnswer(ranks: Ranks): Promise<FrostbitError> {
  const { transport, timeoutMs, names } = ranks;
  for (const peer of others(ranks)) transport.send(peer, channels.question, empty).isDone();
  const silent = new Set(others(ranks));
  const asked = performance.now();
  for (let turns = 0; silent.size > 0 && performance.now() - asked < answerMs; turns++) {
    answerAll(ranks);
    for (let from = transport.waiting(channels.answer); from !== undefined; from = transport.waiting(channels.answer)) {
      transport.receive(from, channels.answer, empty).isDone();
      silent.delete(from);
    }
    await transport.pause(turns);
  }
  if (silent.size === 0) throw new Error("internal: all processes wait for each other");
  const list = [...silent].map((peer) => names[peer]).join(", ");
  return new FrostbitError(
    "ENGINE",
    `${list} did not answer within ${timeoutMs / 1000} s, while the others waited: ${silent.size === 1 ? "it hangs" : "they hang"}, or ${silent.size === 1 ? "its" : "their"} machine does. The run has ended; go on with --resume. Where steps take longer, raise --rank-timeout.`,
  );
}
