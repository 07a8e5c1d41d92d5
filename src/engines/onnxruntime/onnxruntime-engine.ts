// The portable engine in Node.
import type { Engine } from "../engine.ts";
import { loadOrt } from "./ort-module.ts";
import { createSessionEngine } from "./session-engine.ts";

/** onnxruntime-node as an engine, loaded at the first compile. */
export const createOnnxRuntimeEngine = (): Engine => createSessionEngine(loadOrt);
