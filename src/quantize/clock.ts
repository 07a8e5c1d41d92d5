// How long the parts of a run take.

export interface Clock {
  readonly seconds: Record<"calibration" | "training" | "evaluation", number>;
  readonly time: <T>(part: keyof Clock["seconds"], work: () => Promise<T>) => Promise<T>;
}

export function createClock(): Clock {
  const seconds = { calibration: 0, training: 0, evaluation: 0 };
  return {
    seconds,
    time: async (part, work) => {
      const start = performance.now();
      const result = await work();
      seconds[part] += (performance.now() - start) / 1000;
      return result;
    },
  };
}
