// What a checkpoint belongs to: a digest of every sample, and what of the machine changes the bytes of a result.
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { availableParallelism } from "node:os";
import { type Dataset, limit, type Samples, type Source } from "../data/dataset.ts";
import type { Engine, Tuning } from "../engines/engine.ts";
import { describeAddon } from "../engines/native/addon.ts";
import type { Tensor } from "../ir/tensor.ts";
import { instructionSets } from "./examine-machine.ts";
import { ioError } from "./storage.ts";

const samplesAtOnce = 256;

/** Of every sample: the dataset's own digest where it has one, else that of all that it gives. */
export const digestOf = async (dataset: Dataset): Promise<string> =>
  dataset.digest ? dataset.digest() : digestOfSamples(dataset);

/** Of both splits, whatever they are called, as far as a run reads them that uses at most `most` samples of each. */
export const digestOfSource = async (
  { train, test }: Pick<Source, "train" | "test">,
  most = Number.POSITIVE_INFINITY,
): Promise<Readonly<Record<"train" | "test", string>>> => ({
  train: await digestOf(limit(train, most)),
  test: await digestOf(limit(test, most)),
});

async function digestOfSamples(dataset: Dataset): Promise<string> {
  const hash = createHash("sha256");
  for (let start = 0; start < dataset.length; start += samplesAtOnce) {
    const count = Math.min(samplesAtOnce, dataset.length - start);
    update(hash, await dataset.read(Int32Array.from({ length: count }, (_, i) => start + i)));
  }
  return hash.digest("hex");
}

function update(hash: Hash, { inputs, labels, target }: Samples): void {
  const named: readonly (readonly [string, Tensor | undefined])[] = [...inputs, ["labels", labels], ["target", target]];
  for (const [name, tensor] of named) {
    if (!tensor) continue;
    const { dtype, shape, data } = tensor;
    hash.update(JSON.stringify([name, dtype, shape]));
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
}

/** Of the contents of files, with what stands for each, in their order; far less than decoding them takes. */
export async function digestOfFiles(
  files: readonly { readonly path: string; readonly label?: number }[],
): Promise<string> {
  const hash = createHash("sha256");
  for (const { path, label } of files) {
    const file = createHash("sha256");
    try {
      for await (const part of createReadStream(path) as AsyncIterable<Uint8Array>) file.update(part);
    } catch (cause) {
      throw ioError("read", path, cause);
    }
    hash.update(`${label ?? ""} ${file.digest("hex")}\n`);
  }
  return hash.digest("hex");
}

/** How a machine computes a run. */
interface Computing {
  readonly engine: Pick<Engine, "name">;
  readonly threads: number | undefined;
  readonly tune: Tuning;
}

/** What differs on another machine, with another build or another limit, and changes the numbers computed. */
export function machineFields({ engine, threads, tune }: Computing): Readonly<Record<string, string>> {
  const fields = { threads: String(threads ?? availableParallelism()) };
  if (engine.name !== "native") return { ...fields, "instruction sets": (instructionSets() ?? ["unknown"]).join(" ") };
  const { oneDnn, oneDnnKernels, kernels } = describeAddon();
  const limits = ["FROSTBIT_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return {
    ...fields,
    tune,
    oneDNN: oneDnn,
    "instruction sets": `${kernels}, oneDNN's ${oneDnnKernels}; ${(instructionSets() ?? ["unknown"]).join(" ")}`,
    ...Object.fromEntries(limits),
  };
}
