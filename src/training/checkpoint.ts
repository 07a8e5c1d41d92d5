// Checkpoints: the variables and where the run stands, so that a resumed run gives the same bytes.
import { z } from "zod";
import { readSafetensors, writeSafetensors } from "../data/safetensors.ts";
import type { Storage } from "../data/storage.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Tensor } from "../ir/tensor.ts";
import { bytesSource } from "../ir/tensor-source.ts";

/** Where a run's checkpoints go, and whether it goes on from one. */
export interface CheckpointOptions {
  /** Takes named bytes; a folder, memory, or a browser's private files. */
  readonly storage: Storage;
  /** What the run is of; a checkpoint of another is refused. */
  readonly fingerprint: string;
  /** Whether to go on from the newest checkpoint there, if there is one. */
  readonly resume: boolean;
}

const stateFile = "state.json";

/** What every run has; each kind of training adds its own fields. */
const loopSchema = z.object({
  version: z.literal(1),
  /** What the run is of: a resumed run must be of the same. */
  fingerprint: z.string(),
  step: z.int(),
  losses: z.array(z.number()),
  /** The file that holds them. */
  variables: z.string(),
});

export type LoopState = Omit<z.infer<typeof loopSchema>, "version" | "variables">;

/** The fields that whoever trains adds to the state: JSON, under names that the loop does not use. */
export type OwnState = object & { readonly [Name in keyof z.infer<typeof loopSchema>]?: never };

export interface Checkpoint<Own extends OwnState> {
  readonly state: LoopState;
  readonly own: Own;
  readonly variables: ReadonlyMap<string, Tensor>;
}

/** The variables are written first, under the step's own name; the state, written last, says which are valid. */
export async function saveCheckpoint<Own extends OwnState>(
  storage: Storage,
  checkpoint: Checkpoint<Own>,
): Promise<void> {
  const { state, own } = checkpoint;
  const variables = `variables-${state.step}.safetensors`;
  await storage.write(variables, writeSafetensors(checkpoint.variables));
  await storage.write(stateFile, new TextEncoder().encode(JSON.stringify({ version: 1, variables, ...state, ...own })));
  for (const name of await storage.list())
    if (name.startsWith("variables-") && name !== variables) await storage.remove(name);
}

/** The newest checkpoint; undefined where there is none. `schema`: of the fields that whoever trains adds. */
export async function loadCheckpoint<Own extends OwnState>(
  storage: Storage,
  fingerprint: string,
  schema: z.ZodType<Own>,
): Promise<Checkpoint<Own> | undefined> {
  const bytes = await storage.read(stateFile);
  if (!bytes) return undefined;
  const { variables: name, version: _, ...state } = stateOf(bytes, fingerprint);
  const own = parseState(bytes, schema);
  const variables = await storage.read(name);
  if (!variables)
    throw new FrostbitError(
      "IO",
      `The checkpoint's "${name}" is missing. Remove the checkpoint folder and start again.`,
    );
  return { state, own, variables: readSafetensors(bytesSource(variables), name).tensors };
}

/** Throws what `loadCheckpoint` throws where the newest checkpoint is of another run or cannot be read, before anything is computed. */
export async function checkCheckpoint(storage: Storage, fingerprint: string): Promise<void> {
  const bytes = await storage.read(stateFile);
  if (bytes) stateOf(bytes, fingerprint);
}

function stateOf(bytes: Uint8Array, fingerprint: string): z.infer<typeof loopSchema> {
  const state = parseState(bytes, loopSchema);
  if (state.fingerprint === fingerprint) return state;
  throw new FrostbitError(
    "BAD_OPTION",
    "The checkpoint was made with another model, other data or other options. Resume with the options it was made with, or choose another --out folder.",
  );
}

/** What the newest checkpoint's run is of, and its step; undefined where there is none. */
export async function savedFingerprint(storage: Storage): Promise<Pick<LoopState, "fingerprint" | "step"> | undefined> {
  const bytes = await storage.read(stateFile);
  return bytes && parseState(bytes, loopSchema);
}

function parseState<T>(bytes: Uint8Array, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (cause) {
    throw new FrostbitError(
      "IO",
      `The checkpoint's "${stateFile}" cannot be read. Remove the checkpoint folder and start again.`,
      { cause },
    );
  }
}
