// A queue of units, and those who serve it. It is never the truth: the files say what is finished, and what is not in the queue is
// added again, under the unit's id, of which there is one job at a time.
import type { Job, Queue, Worker } from "bullmq";
import { FrostbitError } from "../../ir/errors.ts";
import type { ComputeOptions } from "./compute-unit.ts";
import { type LoadedQueue, loadQueue } from "./load-bullmq.ts";
import type { ComputeTask, UnitTask } from "./task.ts";
import { maxTries, mayPass } from "./tries.ts";
import type { UnitError } from "./unit-store.ts";

const queueName = "frostbit";
/** All digits would be no name of a job. */
const jobIdOf = (id: string): string => `unit-${id}`;

const closeMs = 400;

export interface FailedUnit {
  readonly id: string;
  readonly error: UnitError;
}

export interface UnitQueue {
  /** Harmless for those that are in it. */
  readonly add: (tasks: readonly UnitTask[]) => Promise<void>;
  /** Removes those that failed in it, of those named. */
  readonly takeFailed: (isWanted: (id: string) => boolean) => Promise<readonly FailedUnit[]>;
  /** How many processes serve it. */
  readonly workers: () => Promise<number>;
  readonly close: () => Promise<void>;
}

/** The message of a failed job. */
const textOf = (error: UnitError): string => JSON.stringify(error);

function errorIn(text: string): UnitError {
  try {
    const { code, message } = JSON.parse(text) as UnitError;
    return { code, message };
  } catch {
    return { code: "CRASHED", message: `Its workers died: ${text}.` };
  }
}

/** Hears of each trouble once until it is another. */
function troubleNote(note: (text: string) => void): (error: Error) => void {
  let last = "";
  return (error) => {
    const text = error.message || ("code" in error ? String(error.code) : error.name);
    if (text !== last) note(`The queue's server: ${text}. Trying again.`);
    last = text;
  };
}

export interface QueueOptions {
  readonly url: string;
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
}

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** Throws ABORTED as soon as `signal` says so; a server that is away may never answer. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(new FrostbitError("ABORTED", "Stopped."));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** A server that is not there yet is waited for. */
async function opened<T extends Queue | Worker>(make: () => T, { signal, note }: QueueOptions): Promise<T> {
  const trouble = troubleNote(note);
  for (;;) {
    const made = make();
    try {
      await unlessAborted(made.waitUntilReady(), signal);
      return made;
    } catch (cause) {
      void closed(made);
      if (signal.aborted) throw cause;
      trouble(cause as Error);
      await pause(1000);
    }
  }
}

export async function openUnitQueue(options: QueueOptions): Promise<UnitQueue> {
  const loaded = await loadQueue(options.url);
  const trouble = troubleNote(options.note);
  const queue = await opened(() => {
    const made = makeQueue(loaded);
    made.on("error", trouble);
    return made;
  }, options);
  const jobOptions = { attempts: maxTries, removeOnComplete: true, removeOnFail: false };
  return {
    add: async (tasks) => {
      await queue.addBulk(
        tasks.map((task) => ({ name: "unit", data: task, opts: { ...jobOptions, jobId: jobIdOf(task.id) } })),
      );
    },
    takeFailed: async (isWanted) => {
      const failed: FailedUnit[] = [];
      for (const job of await queue.getFailed(0, -1)) {
        const { id } = job.data as UnitTask;
        if (!isWanted(id)) continue;
        failed.push({ id, error: errorIn(job.failedReason) });
        await job.remove();
      }
      return failed;
    },
    workers: () => queue.getWorkersCount(),
    close: () => closed(queue),
  };
}

function makeQueue({ bullmq, connection, factory }: LoadedQueue): Queue {
  return new bullmq.Queue(queueName, { connection }, factory as undefined);
}

export interface ServeOptions extends QueueOptions {
  /** A worker that has not renewed its unit's lock for so long is dead: others notice within half as long again. */
  readonly lockMs: number;
  /** Computes in another process, so that this one renews the lock of the unit it has in hand. */
  readonly compute: ComputeTask;
  readonly optionsFor: (task: UnitTask) => ComputeOptions;
  readonly onUnit: (task: UnitTask, error: UnitError | null) => void;
}

/** Computes what the queue has until `signal`; a unit in hand then goes back to it. */
export async function serveUnits(options: ServeOptions): Promise<void> {
  const { signal } = options;
  const loaded = await loadQueue(options.url);
  const trouble = troubleNote(options.note);
  let inHand: Promise<void> = Promise.resolve();
  const process = processorOf(loaded, options);
  const serve: Processor = (job, token) => {
    const done = process(job, token);
    inHand = done.catch(() => undefined);
    return done;
  };
  const worker = await opened(() => {
    const made = makeWorker(loaded, serve, options.lockMs);
    made.on("error", trouble);
    return made;
  }, options);
  void worker.run().catch(trouble);
  await new Promise<void>((done) => {
    if (signal.aborted) done();
    signal.addEventListener("abort", () => done(), { once: true });
  });
  await inHand;
  await closed(worker);
}

/** A server that is away is not waited for longer than a moment. */
async function closed(made: Queue | Worker): Promise<void> {
  const isClosed = await Promise.race([made.close().then(() => true), pause(closeMs).then(() => false)]).catch(
    () => false,
  );
  if (!isClosed) void made.disconnect().catch(() => undefined);
}

type Processor = (job: Job, token?: string) => Promise<void>;

/** A unit that was stopped goes back; one that failed has a message that tells its error. */
const processorOf =
  ({ bullmq }: LoadedQueue, { compute, optionsFor, onUnit }: ServeOptions): Processor =>
  async (job, token) => {
    const task = job.data as UnitTask;
    try {
      const error = await compute(task, optionsFor(task));
      onUnit(task, error);
      if (error) throw mayPass(error) ? new Error(textOf(error)) : new bullmq.UnrecoverableError(textOf(error));
    } catch (cause) {
      if (!(cause instanceof FrostbitError && cause.code === "ABORTED")) throw cause;
      await job.moveToWait(token);
      throw new bullmq.WaitingError();
    }
  };

const makeWorker = ({ bullmq, connection, factory }: LoadedQueue, process: Processor, lockMs: number): Worker =>
  new bullmq.Worker(
    queueName,
    process,
    {
      connection,
      autorun: false,
      lockDuration: lockMs,
      stalledInterval: lockMs / 2,
      maxStalledCount: maxTries,
      runRetryDelay: 1000,
    },
    factory as undefined,
  );
