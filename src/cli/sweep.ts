// frostbit sweep: runs of models and settings, computed here or by workers, as one table with its Pareto fronts.
import type { Command } from "commander";
import { z } from "zod";
import { FrostbitError } from "../ir/errors.ts";
import { inTurn } from "../node/sweep/run-in-turn.ts";
import { type Execute, type PlannedUnit, runSweep } from "../node/sweep/run-sweep.ts";
import { throughQueue } from "../node/sweep/run-through-queue.ts";
import { openUnitQueue } from "../node/sweep/unit-queue.ts";
import type { UnitResult } from "../node/sweep/unit-store.ts";
import { formatBytes } from "../report/format-bytes.ts";
import { formatDigits } from "../report/format-digits.ts";
import { formatMeasure, formatSpread, measureTitle } from "../report/format-spread.ts";
import type { Sweep, SweepUnit } from "../report/sweep.ts";
import { createCommand, type Session, type Values } from "./command.ts";
import { exitCodes } from "./errors.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { queueOption, threadsOption } from "./shared-options.ts";
import { askedSweep, type PlannedSweep, plannedSweep, sweepModelOption, sweepSourceOptions } from "./sweep-plan.ts";
import { formatTable } from "./table.ts";
import { unitChild } from "./unit-child.ts";

export const sweepCommandOptions = z.object({
  ...sweepModelOption.shape,
  ...sweepSourceOptions.shape,
  queue: queueOption.shape.queue.optional(),
  ...threadsOption.shape,
  list: z
    .boolean()
    .default(false)
    .describe("Number the units, say what became of each, write table and page of what there is, and compute nothing."),
  overwrite: z.boolean().default(false).describe("Compute again what is finished in --out."),
});

const examples = `
The recipe, as quantize --recipe takes it, with what is run:
    quantize: { weights: 4, activations: 8 }
    methods:
      - qdrop: { preset: fast }
    sweep:
      models: [resnet20.onnx, mobilenet.onnx]
      data: images:pictures/
      preprocess: imagenet
      axes:
        quantize.weights: [3, 4, 8]
        seed: [0, 1]
After Ctrl-C or a crash, the same command again computes what is missing.`;

export function sweepCommand(): Command {
  const command = createCommand(
    "sweep",
    "Run models and settings of a recipe, resumable, and show which are on a Pareto front.",
    run,
    { keepsStep: (phase) => phase.includes(": train") },
  ).argument("<recipe>", "YAML file: a recipe with a section sweep");
  return addSchemaOptions(command, sweepCommandOptions).addHelpText("after", examples);
}

async function run([recipe]: readonly string[], typed: Values, session: Session): Promise<void> {
  const { list, overwrite, ...how } = parseSchemaOptions(sweepCommandOptions, typed);
  const asked = await askedSweep(recipe, typed);
  for (const note of asked.plan.notes) session.note(`${recipe}: ${note}`);
  const planned = await plannedSweep(asked, session.note);
  const { units, store } = planned;
  const sweepWith = (execute?: Execute): Promise<Sweep> =>
    runSweep({
      ...planned,
      ...(execute && { execute }),
      overwrite: overwrite && execute !== undefined,
      onUnit: (unit, result, done) =>
        session.note(`${done} of ${units.length}, ${unit.task.name}: ${outcomeOf(result)}`),
    });
  const sweep = list ? await sweepWith() : await withExecutor(how, planned, session, sweepWith);
  session.print(sweep, [
    ...(list ? listOf(sweep) : tableOf(sweep)),
    ...failuresOf(sweep),
    `${store.pathOf("sweep.html")} has the charts, ${store.pathOf("sweep.json")} the figures.`,
  ]);
  if (!list && unitsOf(sweep).some(({ status }) => status !== "done")) process.exitCode = exitCodes.user;
}

/** Processes of this machine, or the workers of a queue. */
async function withExecutor(
  { queue: url, threads }: Pick<z.output<typeof sweepCommandOptions>, "queue" | "threads">,
  { units, store }: PlannedSweep,
  session: Session,
  sweepWith: (execute: Execute) => Promise<Sweep>,
): Promise<Sweep> {
  const { note, progress, interrupt } = session;
  const { signal } = interrupt;
  if (url === undefined) {
    const child = unitChild(threads);
    return sweepWith(inTurn(store, child.compute, progressOf(units, session))).finally(child.close);
  }
  if (threads !== undefined)
    throw new FrostbitError("BAD_OPTION", "--threads belongs to who computes: give it to the workers of the queue.");
  interrupt.arm(false);
  const queue = await openUnitQueue({ url, signal, note });
  const onLook = (left: number): void =>
    progress.show({ phase: "units", done: units.length - left, total: units.length });
  return sweepWith(throughQueue(queue, store, { signal, note, onLook })).finally(queue.close);
}

const progressOf =
  (units: readonly PlannedUnit[], { progress, note, interrupt }: Session) =>
  (unit: PlannedUnit) => {
    const place = `unit ${units.indexOf(unit)} of ${units.length}`;
    return {
      signal: interrupt.signal,
      onProgress: (now: Parameters<typeof progress.show>[0]) =>
        progress.show({ ...now, phase: `${place}: ${now.phase}` }),
      onNote: (text: string) => note(`${place}: ${text}`),
    };
  };

const unitsOf = ({ settings }: Sweep): readonly SweepUnit[] => settings.flatMap(({ units }) => units);

const outcomeOf = (result: UnitResult): string =>
  "error" in result ? `failed: ${result.error.message}` : `done, ${formatBytes(result.report.sizeBytes.quantized)}`;

const dash = "–";
const shown = (value: number | null, show: (value: number) => string): string => (value === null ? dash : show(value));

function tableOf({ measure, settings, models }: Sweep): readonly string[] {
  if (!measure) return ["No unit is done."];
  const several = models.length > 1;
  const rows = settings.map(({ model, name, result, sizeBytes, latencyMs, fronts }) => [
    several ? `${model}, ${name}` : name,
    formatSpread(result, measure.unit),
    shown(sizeBytes, formatBytes),
    shown(latencyMs, (ms) => `${formatDigits(ms)} ms`),
    fronts.join(", "),
  ]);
  const floats = models.map(({ path, float }) => [
    several ? `${path}, float` : "float",
    shown(float, (value) => formatMeasure(value, measure.unit)),
    "",
    "",
    "",
  ]);
  return formatTable(
    ["", measureTitle(measure), "size", "batch 1", "Pareto fronts"],
    [...floats, ...rows],
    ["left", "right", "right", "right", "left"],
  );
}

function listOf({ settings, models }: Sweep): readonly string[] {
  const rows = settings.flatMap(({ model, name, units }) =>
    units.map(({ index, seed, status, folder }) => ({
      index,
      row: [String(index), models.length > 1 ? `${model}, ${name}` : name, String(seed), status, folder],
    })),
  );
  return formatTable(
    ["", "setting", "seed", "state", "folder"],
    rows.toSorted((a, b) => a.index - b.index).map(({ row }) => row),
    ["right", "left", "right", "left", "left"],
  );
}

const failuresOf = ({ settings }: Sweep): readonly string[] =>
  settings.flatMap(({ model, name, units }) =>
    units.flatMap(({ seed, error }) => (error ? [`${model}, ${name}, seed ${seed} failed: ${error.message}`] : [])),
  );
