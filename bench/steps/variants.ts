// What is timed of each engine: the forward pass, QAT, and EfQAT's modes and ratios.
import { type Precision, precisions } from "../../src/engines/engine.ts";
import { type EngineName, engineNames } from "../../src/engines/select.ts";
import type { Variant } from "../support/model-step.ts";
import type { Candidate } from "./in-turn.ts";
import type { StepRequest } from "./request.ts";
import { type PeerVariant, runOurs, runPeer } from "./workers.ts";

export type Work = Pick<StepRequest, "model" | "batch" | "threads" | "steps" | "weights" | "activations">;

export interface EngineChoice {
  readonly engine: EngineName;
  readonly precision?: Precision;
}

/** "native:mixed" or "onnxruntime". */
export function engineChoice(text: string): EngineChoice {
  const [name, width] = text.split(":");
  const engine = engineNames.find((known) => known === name);
  if (engine === undefined) throw new Error(`"${name}" is not an engine; expected ${engineNames.join(", ")}.`);
  if (width === undefined) return { engine };
  const precision = precisions.find((known) => known === width);
  if (precision === undefined) throw new Error(`"${width}" is not a precision; expected ${precisions.join(", ")}.`);
  return { engine, precision };
}

export const engineTitle = ({ engine, precision }: EngineChoice): string =>
  precision === undefined ? engine : `${engine} ${precision}`;

/** By title; "forward" is what a backward pass is told apart by. */
export const variants: Readonly<Record<string, Variant>> = {
  forward: { mode: "forward", updateRatio: 1 },
  QAT: { mode: "qat", updateRatio: 1 },
  "EfQAT 0 %": { mode: "lwpn", updateRatio: 0 },
  "LWPN 5 %": { mode: "lwpn", updateRatio: 0.05 },
  "LWPN 25 %": { mode: "lwpn", updateRatio: 0.25 },
  "CWPN 5 %": { mode: "cwpn", updateRatio: 0.05 },
  "CWPN 25 %": { mode: "cwpn", updateRatio: 0.25 },
};

export const ours = (work: Work, choice: EngineChoice, title: string, variant: Variant): Candidate => ({
  name: `${engineTitle(choice)} ${title}`,
  run: () => runOurs({ ...work, ...choice, ...variant }),
});

const compiled = {
  precision: "bfloat16",
  quantizer: "function",
  compile: "default",
  attention: "products",
  allocator: "tcmalloc",
} as const satisfies PeerVariant;
const eager = { ...compiled, quantizer: "library", compile: "none", allocator: "glibc" } as const;

/** By title: PyTorch as most write it, then what makes it fast, together and with one thing left out. */
const peerVariants: Readonly<Record<string, PeerVariant>> = {
  "eager float32": { ...eager, precision: "float32" },
  "eager bfloat16": eager,
  "compiled float32": { ...compiled, precision: "float32" },
  "compiled bfloat16": compiled,
  "compiled bfloat16, gradients by autograd": { ...compiled, quantizer: "autograd" },
  "compiled bfloat16, glibc's allocator": { ...compiled, allocator: "glibc" },
  "max-autotune bfloat16": { ...compiled, compile: "max-autotune" },
};
const attentionVariants: Readonly<Record<string, PeerVariant>> = {
  "compiled float32, fused attention": { ...compiled, precision: "float32", attention: "fused" },
  "compiled bfloat16, fused attention": { ...compiled, attention: "fused" },
};

export const peerPrefix = "PyTorch ";
export const isPeer = (name: string): boolean => name.startsWith(peerPrefix);

/** PyTorch's QAT step in each variant that the model has. */
export function peers(work: Work): Candidate[] {
  const layout = work.model === "encoder" ? "nchw" : "channels_last";
  const chosen = work.model === "encoder" ? { ...peerVariants, ...attentionVariants } : peerVariants;
  return Object.entries(chosen).map(([title, variant]) => ({
    name: `${peerPrefix}${title}`,
    run: () => runPeer({ ...work, ...variant, layout }),
  }));
}
