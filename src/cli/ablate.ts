// frostbit ablate: runs of a recipe that differ by the options it names, side by side.
import { basename, join } from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import { ablateFile } from "../node/ablate-file.ts";
import { openMetric } from "../node/open-metric.ts";
import { readModel } from "../node/read-model.ts";
import { readAblation } from "../node/recipe-file.ts";
import { chooseEngine } from "../quantize/choose-engine.ts";
import type { Ablation, AblationCell } from "../report/ablation.ts";
import { formatBytes } from "../report/format-bytes.ts";
import { formatDigits } from "../report/format-digits.ts";
import { formatDifference, formatMeasure, formatSpread, measureTitle } from "../report/format-spread.ts";
import { createCommand, type Session, type Values } from "./command.ts";
import { imageOptions, metricOption, preprocessFrom, preprocessOptions } from "./data-options.ts";
import { exitCodes } from "./errors.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { formatSeconds } from "./progress.ts";
import { dataOrTextOptions, ofData, ofText, sourceOf } from "./quantize.ts";
import { computeOptions } from "./shared-options.ts";
import { formatTable } from "./table.ts";
import { checkDataOrText } from "./text-options.ts";

export const ablateCommandOptions = z.object({
  model: z.string().describe("The model of all runs: an ONNX file, or the folder of a language model."),
  ...dataOrTextOptions.shape,
  ...metricOption.shape,
  out: z.string().default("ablation").describe("Folder for ablation.json, ablation.html and a folder for each run."),
  ...computeOptions.shape,
  resume: z
    .boolean()
    .default(false)
    .describe("Go on after Ctrl-C or a crash: the run that was stopped from its checkpoint, then those that are left."),
  overwrite: z.boolean().default(false).describe("Run again what is done in --out already."),
});

const examples = `
The recipe, as quantize --recipe takes it, with what is varied:
    quantize: { weights: 4, activations: 4 }
    methods:
      - qdrop: { preset: fast }
    ablate:
      design: one-at-a-time
      axes:
        qdrop.drop: [0, 0.5]
        quantize.weights: [3, 4]
        seed: [0, 1, 2]
`;

export function ablateCommand(): Command {
  const command = createCommand(
    "ablate",
    "Run a recipe with options varied, one at a time or as a grid, and compare what comes out.",
    run,
  ).argument("<recipe>", "YAML file: a recipe with a section ablate");
  for (const schema of [ablateCommandOptions, preprocessOptions, imageOptions]) addSchemaOptions(command, schema);
  return command.addHelpText("after", examples);
}

async function run([recipe]: readonly string[], values: Values, session: Session): Promise<void> {
  checkDataOrText(values, ofData, ofText);
  const options = parseSchemaOptions(ablateCommandOptions, values);
  const { model: modelPath, out, engine, precision, threads, tune, resume, overwrite, metric } = options;
  const plan = await readAblation(recipe);
  for (const note of plan.notes) session.note(`${recipe}: ${note}`);
  const model = readModel(modelPath);
  const pace = createPace(plan.cells.length);
  const ablation = await ablateFile({
    plan,
    title: `${basename(modelPath)}: ablation of ${basename(recipe)}`,
    modelPath,
    model,
    openSource: sourceOf(modelPath, model.graph, values, session),
    preprocess: preprocessFrom(parseSchemaOptions(preprocessOptions, values)),
    ...(metric === undefined ? {} : { metric: await openMetric(metric) }),
    engineFor: (run) => chooseEngine(engine, model.graph, run),
    out,
    tune,
    resume,
    overwrite,
    signal: session.interrupt.signal,
    onProgress: (cell, progress) =>
      session.progress.show({
        ...progress,
        phase: `run ${cell + 1} of ${plan.cells.length}: ${progress.phase}`,
        note: [progress.note, pace.left()].filter((part) => part !== undefined).join(", "),
      }),
    onNote: session.note,
    onCell: (done, { setting, seed }, now) => {
      pace.done(done);
      const cell = now.settings.find(({ name }) => name === setting.name)?.cells.find((one) => one.seed === seed);
      session.note(`${done} of ${plan.cells.length}, ${setting.name}, seed ${seed}: ${outcomeOf(cell, now)}`);
    },
    ...(precision === "auto" ? {} : { precision }),
    ...(threads === undefined ? {} : { threads }),
  });
  session.print(ablation, [
    ...tableOf(ablation),
    ...failuresOf(ablation),
    `${join(out, "ablation.html")} has the charts, ${join(out, "ablation.json")} the figures.`,
  ]);
  if (cellsOf(ablation).some(({ status }) => status === "failed")) process.exitCode = exitCodes.user;
}

const cellsOf = ({ settings }: Ablation): readonly AblationCell[] => settings.flatMap(({ cells }) => cells);

interface Pace {
  readonly done: (cells: number) => void;
  /** Of all runs, in words; undefined until one is done. */
  readonly left: () => string | undefined;
}

/** By the mean time of the runs so far. */
function createPace(all: number): Pace {
  const started = performance.now();
  let [ended, runs, seconds] = [0, 0, 0];
  return {
    done: (cells) => {
      [ended, runs, seconds] = [cells, runs + 1, (performance.now() - started) / 1000];
    },
    left: () => {
      if (runs === 0) return undefined;
      const since = (performance.now() - started) / 1000 - seconds;
      return `${formatSeconds(Math.max(0, ((all - ended) * seconds) / runs - since))} left in all`;
    },
  };
}

function outcomeOf(cell: AblationCell | undefined, { measure }: Ablation): string {
  if (!cell) return "not run";
  if (cell.error) return `failed: ${cell.error.message}`;
  const figure =
    cell.value === null || !measure ? "no figure" : `${measure.name} ${formatMeasure(cell.value, measure.unit)}`;
  return `${figure}, ${formatSeconds(cell.seconds ?? 0)}`;
}

function tableOf({ measure, settings }: Ablation): readonly string[] {
  if (!measure) return ["No run is done."];
  const { unit } = measure;
  const meanOf = (cells: readonly AblationCell[], of: (cell: AblationCell) => number | null): number | undefined => {
    const values = cells.flatMap((cell) => of(cell) ?? []);
    return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
  };
  const shown = (value: number | undefined, show: (value: number) => string): string =>
    value === undefined ? "–" : show(value);
  const rows = settings.map(({ name, result, difference, cells }) => [
    name,
    formatSpread(result, unit),
    formatDifference(difference, unit),
    shown(
      meanOf(cells, ({ sizeBytes }) => sizeBytes),
      formatBytes,
    ),
    shown(
      meanOf(cells, ({ latencyMs }) => latencyMs),
      (ms) => `${formatDigits(ms)} ms`,
    ),
    shown(
      meanOf(cells, ({ seconds }) => seconds),
      formatSeconds,
    ),
  ]);
  const float = measure.float === null ? [] : [["float", formatMeasure(measure.float, unit), "", "", "", ""]];
  return formatTable(
    ["", measureTitle(measure), "to the base", "size", "batch 1", "run"],
    [...float, ...rows],
    ["left", "right", "right", "right", "right", "right"],
  );
}

const failuresOf = ({ settings }: Ablation): readonly string[] =>
  settings.flatMap(({ name, cells }) =>
    cells.flatMap(({ seed, error }) => (error ? [`${name}, seed ${seed} failed: ${error.message}`] : [])),
  );
