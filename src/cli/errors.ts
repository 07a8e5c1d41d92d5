// What a failed command says and returns.
import { CommanderError } from "commander";
import { FrostbitError } from "../ir/errors.ts";
import { outOfMemory } from "../run/out-of-memory.ts";

export const exitCodes = { ok: 0, user: 1, ours: 70, interrupted: 130 } as const;

export interface Failure {
  /** Its lines; none where it has been said. */
  readonly lines: readonly string[];
  readonly exitCode: number;
  /** For standard output with --json; absent where nothing failed, as with --help. */
  readonly json?: { readonly error: { readonly code: string; readonly message: string } };
}

/** A user's error is printed as a message alone. An internal error is marked as such, so that it gets reported. */
export function failureOf(thrown: unknown, verbose: boolean): Failure {
  const error = outOfMemory(thrown) ?? thrown;
  const stack = error instanceof Error && verbose ? [...stackOf(error), ...causeOf(error)] : [];
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return { lines: [], exitCode: exitCodes.ok };
    return { lines: [], exitCode: exitCodes.user, json: jsonOf("BAD_OPTION", error.message.replace(/^error: /, "")) };
  }
  if (error instanceof FrostbitError) {
    const [prefix, exitCode] = error.code === "ABORTED" ? ["", exitCodes.interrupted] : ["error: ", exitCodes.user];
    const [first, ...rest] = error.lines;
    return { lines: [`${prefix}${first}`, ...rest, ...stack], exitCode, json: jsonOf(error.code, error.message) };
  }
  const text = (error instanceof Error ? error.message : String(error)).replace(/[^.!?]$/, "$&.");
  const hint = verbose ? "" : " Run again with --verbose for the stack.";
  const message = `${text.startsWith("internal:") ? "" : "internal: "}${text} This is a bug in frostbit; please report it.`;
  return { lines: [`${message}${hint}`, ...stack], exitCode: exitCodes.ours, json: jsonOf("INTERNAL", message) };
}

const jsonOf = (code: string, message: string): NonNullable<Failure["json"]> => ({ error: { code, message } });

/** The name and message as one line, and where it was thrown. */
function stackOf({ name, message, stack = "" }: Error): readonly string[] {
  const places = stack.includes(message) ? stack.slice(stack.indexOf(message) + message.length) : stack;
  return [`${name}: ${message}`, ...places.split("\n").filter((line) => /^ +at /.test(line))];
}

function causeOf({ cause }: Error): readonly string[] {
  if (!(cause instanceof Error)) return [];
  const [first, ...places] = stackOf(cause);
  return [`caused by: ${first}`, ...places];
}
