// Several processes share the batches of one evaluation: all of them have the same model, samples and settings.
import type { Dataset } from "../data/dataset.ts";
import type { Communicator } from "../distributed/communicator.ts";
import type { Engine } from "../engines/engine.ts";
import { agreeOn } from "./agree-on-run.ts";
import { digestOf, machineFields } from "./digest-data.ts";
import { digestOfModel, modelFields } from "./digest-model.ts";
import { versions } from "./versions.ts";

export interface SharedEvaluation {
  readonly modelPath: string;
  /** As far as it is used. */
  readonly dataset: Dataset;
  readonly engine: Pick<Engine, "name">;
  readonly threads: number | undefined;
  /** What else decides what comes out, by name. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** Throws BAD_OPTION, everywhere, where a process would evaluate something else than process 0, or compute it otherwise. */
export async function agreeOnEvaluation(
  { modelPath, dataset, engine, threads, settings }: SharedEvaluation,
  communicator: Communicator,
): Promise<void> {
  const given = Object.entries(settings).filter(([, value]) => value !== undefined);
  const fields = {
    ...versions(),
    ...modelFields(digestOfModel(modelPath)),
    data: `${dataset.name} ${dataset.length}`,
    samples: await digestOf(dataset),
    engine: engine.name,
    ...machineFields({ engine, threads, tune: "off" }),
    ...Object.fromEntries(given.map(([name, value]) => [name, JSON.stringify(value)])),
  };
  await agreeOn(fields, communicator);
}
