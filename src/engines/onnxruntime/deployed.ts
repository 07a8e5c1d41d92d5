// A deployed model, opened as its users open it: ONNX Runtime's default optimizations.
import { createSession, type Session } from "./session.ts";

export const openDeployed = (
  bytes: Uint8Array | string,
  { threads }: { readonly threads?: number } = {},
): Promise<Session> => createSession(bytes, threads === undefined ? {} : { threads });
