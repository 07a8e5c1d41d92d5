// What is timed of each engine: the forward pass, QAT, and EfQAT's modes and ratios.
import { type Precision, precisions } from "../../src/engines/engine.ts";
import { type EngineName, engineNames } from "../../src/engines/select.ts";
import type { Variant } from "../support/model-step.ts";
import type { Candidate } from "./in-turn.ts";
import type { StepRequest } from "./request.ts";
import { type PeerRequest, runOurs, runPeer } from "./workers.ts";

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

export const peers = { float32: "PyTorch float32 QAT", bfloat16: "PyTorch autocast QAT" } as const;

export function peer(work: Work, precision: keyof typeof peers): Candidate {
  const layout = work.model === "resnet20" ? "channels_last" : "nchw";
  const request: PeerRequest = { ...work, layout, precision };
  return { name: peers[precision], run: () => runPeer(request) };
}
