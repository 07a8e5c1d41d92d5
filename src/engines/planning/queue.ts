// One piece of work at a time, in the order of asking.

export interface Queue {
  readonly isBusy: () => boolean;
  /** Starts `work` at once where nothing else runs. */
  readonly run: <T>(work: () => Promise<T>) => Promise<T>;
}

export function createQueue(): Queue {
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  return {
    isBusy: () => waiting > 0,
    run: async (work) => {
      waiting++;
      const mine = waiting === 1 ? work() : last.then(work, work);
      last = mine.then(
        () => {},
        () => {},
      );
      try {
        return await mine;
      } finally {
        waiting--;
      }
    },
  };
}
