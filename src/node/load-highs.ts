// HiGHS, which solves integer programs: an optional peer that is loaded when it is used.
import { FrostbitError } from "../ir/errors.ts";
import type { IntegerSolver } from "../methods/method.ts";

/** npm's `highs`; throws ENGINE where it is not installed. */
export async function loadHighs(): Promise<IntegerSolver> {
  try {
    const { default: load } = await import("highs");
    // Its types are those of its CommonJS form, whose default is the module.
    return await (load as unknown as () => Promise<IntegerSolver>)();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FrostbitError(
      "ENGINE",
      `Several budgets at once are an integer program, which highs solves, and it cannot be loaded (${reason}). Install it: npm install highs. One budget alone needs none.`,
      { cause },
    );
  }
}
