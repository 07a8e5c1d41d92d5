// What the units of a model are given, from the options of a command or of a recipe's sweep.
import { z } from "zod";
import { selectEngine } from "../engines/select.ts";
import { FrostbitError } from "../ir/errors.ts";
import { differences } from "../node/claim-out.ts";
import { openMetric } from "../node/open-metric.ts";
import { readModel } from "../node/read-model.ts";
import type { UnitTask } from "../node/sweep/task.ts";
import { type Unit, type UnitChoice, type UnitSource, unitsOf } from "../node/sweep/unit.ts";
import { runOptions } from "../options/recipe.ts";
import type { Values } from "./command.ts";
import { imageOptions, metricOption, preprocessFrom, preprocessOptions } from "./data-options.ts";
import { parseSchemaOptions } from "./options-from-schema.ts";
import { dataOrTextOptions, sourceOf } from "./quantize.ts";
import { tuneOption } from "./shared-options.ts";

/** What units read besides their model. */
export const unitDataOptions = z.object({
  ...dataOrTextOptions.shape,
  ...metricOption.shape,
  ...preprocessOptions.shape,
  ...imageOptions.shape,
});

/** Of a model; `note` hears what a user should know. */
export async function unitSource(
  modelPath: string,
  values: Values,
  threads: number | undefined,
  note: (text: string) => void,
): Promise<UnitSource> {
  const model = readModel(modelPath);
  const { metric } = parseSchemaOptions(metricOption, values);
  return {
    modelPath,
    model,
    openSource: sourceOf(modelPath, model.graph, values, { note }),
    preprocess: preprocessFrom(parseSchemaOptions(preprocessOptions, values)),
    ...(metric === undefined ? {} : { metric: await openMetric(metric) }),
    ...(threads === undefined ? {} : { threads }),
    ...parseSchemaOptions(tuneOption, values),
  };
}

/** Makes the units of tasks; those of one model in turn share what they find. Throws BAD_OPTION where this machine finds another unit. */
export function unitOfTask(
  threads: number | undefined,
): (task: UnitTask, note: (text: string) => void) => Promise<Unit> {
  let last: { readonly key: string; readonly make: (choice: UnitChoice) => Promise<Unit> } | undefined;
  return async (task, note) => {
    const { cwd, model, given } = task;
    const key = JSON.stringify([cwd, model, given]);
    if (last?.key !== key) {
      enterFolder(cwd);
      last = { key, make: unitsOf(await unitSource(model, given, threads, note)) };
    }
    const { recipe, engine, precision } = task;
    const unit = await last.make({ options: runOptions.parse(recipe), engine: selectEngine(engine), precision });
    if (unit.id !== task.id) throw anotherUnit(task, unit);
    return unit;
  };
}

function enterFolder(cwd: string): void {
  try {
    process.chdir(cwd);
  } catch (cause) {
    throw new FrostbitError(
      "IO",
      `Cannot enter "${cwd}", where the sweep was started: its paths start from there. Give this machine the folder under the same path.`,
      { cause },
    );
  }
}

const anotherUnit = ({ name, fields }: UnitTask, unit: Unit): FrostbitError =>
  new FrostbitError(
    "BAD_OPTION",
    `${name} is another unit on this machine: ${differences(fields, unit.fields).join(", ")}. All machines of a sweep need the same versions, model and data.`,
  );
