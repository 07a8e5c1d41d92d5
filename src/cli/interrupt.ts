// Ctrl-C: before the computation starts it ends the process at once, as without a listener, since a listener would wait while a file is read.
// Later the first stops after the step in hand, the second at once.
import { exitCodes } from "./errors.ts";

export interface Interrupt {
  readonly signal: AbortSignal;
  /** From now on there is a step to finish. */
  readonly arm: () => void;
  readonly dispose: () => void;
}

export interface InterruptOptions {
  readonly onFirst: () => void;
  /** Before the process ends at once. */
  readonly onLast: () => void;
  /** How long a step may take where nothing is lost with it; absent where it is always finished. */
  readonly maxMs?: number;
}

export function createInterrupt({ onFirst, onLast, maxMs }: InterruptOptions): Interrupt {
  const controller = new AbortController();
  let armed = false;
  const end = (): never => {
    onLast();
    process.exit(exitCodes.interrupted);
  };
  const handle = (): void => {
    if (controller.signal.aborted) end();
    controller.abort();
    onFirst();
    if (maxMs !== undefined) setTimeout(end, maxMs).unref();
  };
  return {
    signal: controller.signal,
    arm: () => {
      if (armed) return;
      armed = true;
      process.on("SIGINT", handle);
      process.on("SIGTERM", handle);
    },
    dispose: () => {
      process.off("SIGINT", handle);
      process.off("SIGTERM", handle);
    },
  };
}
