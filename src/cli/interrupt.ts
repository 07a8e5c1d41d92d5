// Ctrl-C: before the computation starts it ends the process at once, as without a listener, since a listener would wait while a file is read.
// Later the first stops after the step in hand, the second at once. A step whose result is lost is waited for no longer than `maxStepMs`.
import { rmSync } from "node:fs";
import { isNativeBuilt, loadAddon } from "../engines/native/addon.ts";
import { heldLocks } from "../node/lock-folder.ts";
import { exitCodes } from "./errors.ts";

export interface Interrupt {
  readonly signal: AbortSignal;
  /** From now on there is a step in hand; `isKept`: what it learned is kept, so that it is finished however long it takes. */
  readonly arm: (isKept: boolean) => void;
  readonly dispose: () => void;
}

export interface InterruptOptions {
  readonly onFirst: () => void;
  /** Before the process ends at once. */
  readonly onLast: () => void;
}

/** Ctrl-C ends a command within a second. */
const maxStepMs = 650;
/** What listeners have to end it themselves before the addon does. */
const graceMs = 150;

export function createInterrupt({ onFirst, onLast }: InterruptOptions): Interrupt {
  const controller = new AbortController();
  let armed: { readonly isKept: boolean } | undefined;
  /** Listeners hear nothing while the main thread computes outside JavaScript. */
  const addon = isNativeBuilt() ? loadAddon() : undefined;
  addon?.endAfterSignal(0);
  const end = (): never => {
    onLast();
    for (const lock of heldLocks) rmSync(lock, { force: true });
    process.exit(exitCodes.interrupted);
  };
  const handle = (): void => {
    if (controller.signal.aborted) end();
    controller.abort();
    onFirst();
    if (armed?.isKept !== true) setTimeout(end, maxStepMs).unref();
  };
  return {
    signal: controller.signal,
    arm: (isKept) => {
      if (armed?.isKept === isKept || controller.signal.aborted) return;
      if (!armed) {
        process.on("SIGINT", handle);
        process.on("SIGTERM", handle);
      }
      armed = { isKept };
      addon?.endAfterSignal(isKept ? undefined : maxStepMs + graceMs);
    },
    dispose: () => {
      process.off("SIGINT", handle);
      process.off("SIGTERM", handle);
    },
  };
}
