// Mutated models of some seeds, compared with ONNX Runtime in a separate process.
import { join } from "node:path";
import { type Base, baseModels, type Outcome, runWatched } from "../malformed/malformed-models.ts";

export interface Mutated {
  readonly first: number;
  readonly count: number;
  /** A file that gets a line for each model that one side alone refused. */
  readonly messages?: string;
}

const maxBytes = 20_000;
const isSmall = ({ bytes }: Base): boolean => bytes.length <= maxBytes;
const isNetwork = ({ name }: Base): boolean => /\/torch-models\/|^(conv|residual) net$|^mlp$/.test(name);

/** Each once. */
const networks = (): readonly Base[] => [
  ...new Map(baseModels().flatMap((base) => (isSmall(base) && isNetwork(base) ? [[base.name, base]] : []))).values(),
];

const runScript = (name: string, bases: readonly Base[], { first, count, messages = "" }: Mutated): Promise<Outcome> =>
  runWatched({
    script: join(import.meta.dirname, name),
    bases,
    words: (last) => [String(first), String(count), last, messages],
  });

/** One operator each, ONNX's node tests, and networks of a few layers, on every engine and with the batch freed. */
export const compareMutated = (part: Mutated): Promise<Outcome> =>
  runScript("compare-with-onnx-runtime.js", baseModels().filter(isSmall), part);

/** Networks of a few layers at a fixed batch, quantized: what was reported of what was written. */
export const quantizeMutated = (part: Mutated): Promise<Outcome> => runScript("quantize-mutated.js", networks(), part);
