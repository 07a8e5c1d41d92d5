// The one base class of every error thrown on purpose, and the assertion for our own bugs.

/**
 * What kind of error it is; codes are stable, messages are not. BAD_MODEL: the file is not a valid model, or not of the kind that is
 * wanted. BAD_OPTION: an option or argument. BAD_DATA: samples or labels. UNSUPPORTED_OP: operators that nothing here knows, or
 * the engine cannot run. NO_GRADIENT: something between the loss and what trains cannot be differentiated. SHAPE_MISMATCH: types
 * or shapes of a node do not fit. ENGINE: what runs graphs is missing or failed. DIVERGED: the loss has become NaN or infinite.
 * VERIFICATION: the exported file does not compute what was trained. IO: a file cannot be read or written. MEMORY: more memory is
 * needed than there is or than was allowed. ABORTED: the signal stopped the call.
 */
export type ErrorCode =
  | "BAD_MODEL"
  | "BAD_OPTION"
  | "BAD_DATA"
  | "UNSUPPORTED_OP"
  | "NO_GRADIENT"
  | "SHAPE_MISMATCH"
  | "ENGINE"
  | "DIVERGED"
  | "VERIFICATION"
  | "IO"
  | "MEMORY"
  | "ABORTED";

/** An error that is the input's, not ours: the message says what is wrong, where, with the values, and what to do. */
export class FrostbitError extends Error {
  /** What programs go by. */
  readonly code: ErrorCode;
  /** The message's lines. A line end within one is part of a name that the message quotes. */
  readonly lines: readonly string[];

  constructor(code: ErrorCode, message: string | readonly string[], options?: { cause?: unknown }) {
    const lines = typeof message === "string" ? [message] : message;
    super(lines.join("\n"), options);
    this.name = "FrostbitError";
    this.code = code;
    this.lines = lines;
  }
}

/** The same error, its message after `where`. */
export function errorAt(where: string, error: FrostbitError): FrostbitError {
  const [first, ...rest] = error.lines;
  return new FrostbitError(error.code, [`${where}${first}`, ...rest], { cause: error });
}

/** For conditions that only a bug in Frostbit can break; the message starts with "internal:". */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`internal: ${message}`);
}
