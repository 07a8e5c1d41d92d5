// Ctrl-C: the first stops after the step in hand, the second at once.
import { exitCodes } from "./errors.ts";

export interface Interrupt {
  readonly signal: AbortSignal;
  readonly dispose: () => void;
}

export function createInterrupt(onFirst: () => void): Interrupt {
  const controller = new AbortController();
  const handle = (): void => {
    if (controller.signal.aborted) process.exit(exitCodes.interrupted);
    controller.abort();
    onFirst();
  };
  process.on("SIGINT", handle);
  process.on("SIGTERM", handle);
  return {
    signal: controller.signal,
    dispose: () => {
      process.off("SIGINT", handle);
      process.off("SIGTERM", handle);
    },
  };
}
