// The one base class of every error thrown on purpose, and the assertion for our own bugs.

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
  | "ABORTED";

/** An error that is the input's, not ours: the message says what is wrong, where, with the values, and what to do. */
export class FrostbitError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "FrostbitError";
    this.code = code;
  }
}

/** Guards what only a bug of ours can break; the message starts with "internal:". */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`internal: ${message}`);
}
