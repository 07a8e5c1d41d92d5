// Checkpoints: the variables and where the run stands, so that a resumed run gives the same bytes.
import { z } from "zod";
import { readSafetensors, writeSafetensors } from "../data/safetensors.ts";
import type { Storage } from "../data/storage.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Tensor } from "../ir/tensor.ts";

const stateFile = "state.json";

const stateSchema = z.object({
  version: z.literal(1),
  /** What the run is of: a resumed run must be of the same. */
  fingerprint: z.string(),
  step: z.int(),
  losses: z.array(z.number()),
  plan: z.record(z.string(), z.union([z.string(), z.array(z.number())])),
  /** Per weight and row, the steps in which the row trained. */
  trainedSteps: z.record(z.string(), z.array(z.int())),
  variables: z.string(),
});

export type CheckpointState = Omit<z.infer<typeof stateSchema>, "version" | "variables">;

export interface Checkpoint {
  readonly state: CheckpointState;
  readonly variables: ReadonlyMap<string, Tensor>;
}

/** The variables are written first, under the step's own name; the state, written last, says which are valid. */
export async function saveCheckpoint(storage: Storage, checkpoint: Checkpoint): Promise<void> {
  const variables = `variables-${checkpoint.state.step}.safetensors`;
  await storage.write(variables, writeSafetensors(checkpoint.variables));
  await storage.write(
    stateFile,
    new TextEncoder().encode(JSON.stringify({ version: 1, variables, ...checkpoint.state })),
  );
  for (const name of await storage.list())
    if (name.startsWith("variables-") && name !== variables) await storage.remove(name);
}

/** The newest checkpoint; undefined where there is none. */
export async function loadCheckpoint(storage: Storage, fingerprint: string): Promise<Checkpoint | undefined> {
  const bytes = await storage.read(stateFile);
  if (!bytes) return undefined;
  const { variables: name, ...state } = parseState(bytes);
  if (state.fingerprint !== fingerprint)
    throw new FrostbitError(
      "BAD_OPTION",
      "The checkpoint was made with another model, other data or other options. Resume with the options it was made with, or choose another --out folder.",
    );
  const variables = await storage.read(name);
  if (!variables)
    throw new FrostbitError(
      "IO",
      `The checkpoint's "${name}" is missing. Remove the checkpoint folder and start again.`,
    );
  return { state, variables: readSafetensors(variables, name).tensors };
}

/** What the newest checkpoint's run is of, and its step; undefined where there is none. */
export async function savedFingerprint(
  storage: Storage,
): Promise<Pick<CheckpointState, "fingerprint" | "step"> | undefined> {
  const bytes = await storage.read(stateFile);
  return bytes && parseState(bytes);
}

function parseState(bytes: Uint8Array): z.infer<typeof stateSchema> {
  try {
    return stateSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (cause) {
    throw new FrostbitError(
      "IO",
      `The checkpoint's "${stateFile}" cannot be read. Remove the checkpoint folder and start again.`,
      { cause },
    );
  }
}
