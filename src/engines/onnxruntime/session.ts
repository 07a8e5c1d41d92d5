// Sessions of onnxruntime-node.
import { openSession, type Session, type SessionOptions } from "./open-session.ts";
import { loadOrt } from "./ort-module.ts";

/** Opens a model from its bytes or its file. */
export async function createSession(model: Uint8Array | string, options: SessionOptions = {}): Promise<Session> {
  return openSession(await loadOrt(), model, options);
}
