// The units of a sweep, from its recipe and the command's options: sweep, unit and worker number and name them alike.
import { basename } from "node:path";
import { z } from "zod";
import type { SweepPlan } from "../ablate/plan.ts";
import type { SweepFacts } from "../ablate/summarize-sweep.ts";
import { FrostbitError } from "../ir/errors.ts";
import { precisionOf } from "../node/quantize-file.ts";
import { readSweep } from "../node/recipe-file.ts";
import { openStore } from "../node/sweep/open-store.ts";
import type { PlannedUnit } from "../node/sweep/run-sweep.ts";
import type { UnitTask } from "../node/sweep/task.ts";
import { type Unit, unitsOf } from "../node/sweep/unit.ts";
import { type UnitStore, unitFolder } from "../node/sweep/unit-store.ts";
import { recipeOf } from "../options/recipe.ts";
import { chooseEngine } from "../quantize/choose-engine.ts";
import type { Values } from "./command.ts";
import { parseSchemaOptions } from "./options-from-schema.ts";
import { ofData, ofText } from "./quantize.ts";
import { computeOptions, tuneOption } from "./shared-options.ts";
import { checkDataOrText } from "./text-options.ts";
import { unitDataOptions, unitSource } from "./unit-source.ts";

const { engine, precision } = computeOptions.shape;

/** What a recipe's `sweep` may have besides models and axes; options of the command go before it. */
export const sweepSourceOptions = z.object({
  ...unitDataOptions.shape,
  out: z
    .string()
    .default("sweep")
    .describe("Folder, or s3://BUCKET/PREFIX, for sweep.json, sweep.html and the files of each unit."),
  engine,
  precision,
  ...tuneOption.shape,
});

export const sweepModelOption = z.object({
  model: z
    .string()
    .optional()
    .describe(
      "The model of all units, an ONNX file or the folder of a language model, instead of the recipe's models.",
    ),
});

/** A unit as it is handed to who computes it. `given`: what it reads, as the command's options are called. */
export const taskOf = (
  { id, fields, job }: Unit,
  { name, out, given }: Pick<UnitTask, "name" | "out" | "given">,
): UnitTask => ({
  id,
  fields,
  name,
  cwd: process.cwd(),
  out,
  model: job.modelPath,
  given,
  engine: job.engine.name as UnitTask["engine"],
  precision: precisionOf(job),
  recipe: recipeOf(job.options),
});

/** A sweep that can be run. */
export interface PlannedSweep {
  readonly plan: SweepPlan;
  readonly units: readonly PlannedUnit[];
  readonly store: UnitStore;
  readonly facts: Pick<SweepFacts, "title" | "data" | "isText">;
}

/** What a sweep is asked for, before its models and data are read. */
export interface AskedSweep {
  readonly recipe: string;
  readonly plan: SweepPlan;
  readonly models: readonly string[];
  readonly values: Values;
  readonly out: string;
}

export async function askedSweep(recipe: string, typed: Values): Promise<AskedSweep> {
  const plan = await readSweep(recipe, Object.keys(sweepSourceOptions.shape));
  const { model } = parseSchemaOptions(sweepModelOption, typed);
  const models = model === undefined ? plan.models : [model];
  if (models.length === 0)
    throw new FrostbitError("BAD_OPTION", `${recipe}: sweep: models: expected a list of paths, or --model with one.`);
  const values = { ...plan.given, ...typed };
  checkDataOrText(values, ofData, ofText);
  return { recipe, plan, models, values, out: parseSchemaOptions(sweepSourceOptions, values).out };
}

/** Reads models and data, which decide what a unit is: `only` one of them where its number is given. */
export async function plannedSweep(
  { recipe, plan, models, values, out }: AskedSweep,
  note: (text: string) => void,
  only?: number,
): Promise<PlannedSweep> {
  const { engine: engineName, precision: asked, ...others } = parseSchemaOptions(sweepSourceOptions, values);
  const given = Object.fromEntries(
    Object.entries(others).filter(([name, value]) => name !== "out" && value !== undefined && name in values),
  );
  const store = await openStore(out);
  const units: PlannedUnit[] = [];
  let facts = { data: "", isText: false };
  for (const [m, model] of models.entries()) {
    const [first, end] = [m * plan.cells.length, (m + 1) * plan.cells.length];
    if (only !== undefined && (only < first || only >= end)) continue;
    const source = await unitSource(model, values, undefined, note);
    const make = unitsOf(source);
    for (const [c, cell] of plan.cells.entries()) {
      if (only !== undefined && only !== first + c) continue;
      const engine = chooseEngine(engineName, source.model.graph, cell.options);
      const precision = precisionOf({ engine, ...(asked === "auto" ? {} : { precision: asked }) });
      const unit = await make({ options: cell.options, engine, precision });
      const { id, job } = unit;
      facts = { data: job.source.train.name, isText: job.source.test.isText ?? false };
      const name = `${models.length > 1 ? `${model}, ` : ""}${cell.setting.name}, seed ${cell.seed}`;
      units.push({ model, cell, id, folder: unitFolder(id), task: taskOf(unit, { name, out: store.address, given }) });
    }
  }
  return { plan, units, store, facts: { ...facts, title: `Sweep of ${basename(recipe)}` } };
}
