// What carries bytes between the processes of a run.

/** Sending or receiving that has begun; its bytes stay as they are until it is done. */
export interface Pending {
  /** Gives the other processes a turn; true once it is done, and then for good. */
  readonly isDone: () => boolean;
}

/** Messages between two processes on one channel arrive in their order. */
export interface Transport {
  /** This process among all, from 0. */
  readonly rank: number;
  readonly size: number;
  readonly send: (to: number, channel: number, bytes: Uint8Array) => Pending;
  /** As many bytes as were sent. */
  readonly receive: (from: number, channel: number, into: Uint8Array) => Pending;
  /** A process whose next message on this channel has not been received. */
  readonly waiting: (channel: number) => number | undefined;
  /** Lets the event loop turn; longer the more often nothing happened. */
  readonly pause: (turns: number) => Promise<void>;
}
