// Computes cells as units, each the command `quantize`: here one after the other, or by the workers of a queue.
import { join } from "node:path";
import { Command } from "commander";
import { runFlags, runFromFlags } from "../../src/cli/method-flags.ts";
import { addSchemaOptions } from "../../src/cli/options-from-schema.ts";
import { taskOf } from "../../src/cli/sweep-plan.ts";
import { unitChild } from "../../src/cli/unit-child.ts";
import { unitSource } from "../../src/cli/unit-source.ts";
import { selectEngine } from "../../src/engines/select.ts";
import { openStore } from "../../src/node/sweep/open-store.ts";
import { tryUnit } from "../../src/node/sweep/run-in-turn.ts";
import { throughQueue } from "../../src/node/sweep/run-through-queue.ts";
import type { UnitTask } from "../../src/node/sweep/task.ts";
import { unitsOf } from "../../src/node/sweep/unit.ts";
import { openUnitQueue } from "../../src/node/sweep/unit-queue.ts";
import type { UnitResult, UnitStore } from "../../src/node/sweep/unit-store.ts";
import type { Report } from "../../src/report/report.ts";
import { type EngineChoice, engineTitle } from "../steps/variants.ts";
import { dataFolder, machineName, processorName } from "../support/machine.ts";
import { type Cell, nameOf } from "./cells.ts";
import type { CellRecord } from "./records.ts";

export interface RunSettings {
  readonly choice: EngineChoice;
  /** Of the processes that are started here. */
  readonly threads: number;
  /** Samples of each split, for tries. */
  readonly limit?: number;
  /** Where each cell's model and report go: a folder, or s3://BUCKET/PREFIX. */
  readonly out: string;
  /** The server of the queue whose workers compute; absent: this machine does. */
  readonly queue?: string;
}

/** The paper's setting: min-max ranges of 512 samples, one epoch of SGD at the learning rate that the float training ended with. */
function methodOptions(cell: Cell): string[] {
  const { bits, method, mode, ratio, refreshEvery, qparamTraining, qparamLr, importance, ratioCounts } = cell;
  const widths = bits === "float" ? [] : ["--weights", bits[1], "--activations", bits[3]];
  const training = [
    ...["--epochs", "1", "--batch", "128", "--augment", "crop,flip", "--lr", "0.001", "--momentum", "0.9"],
    ...["--weight-decay", "0.0001", "--qparam-lr", String(qparamLr)],
    ...(qparamTraining === "direct" ? [] : ["--qparam-training", qparamTraining]),
  ];
  const selection = [
    ...["--mode", mode, "--update-ratio", String(ratio / 100)],
    ...["--refresh-every", String(refreshEvery), "--importance", importance, "--ratio-counts", ratioCounts],
  ];
  return [
    ...["--method", method, ...widths],
    ...(method === "ptq" ? [] : training),
    ...(method === "efqat" ? selection : []),
  ];
}

/** What a cell is told as a run. */
const runOptionsOf = (cell: Cell, { limit }: RunSettings): string[] => [
  ...methodOptions(cell),
  ...["--calibration-samples", "512", "--seed", String(cell.seed)],
  ...["--placement", "inputs", "--accuracies", "deployed"],
  ...(limit === undefined ? [] : ["--limit", String(limit)]),
];

interface CellUnit {
  readonly cell: Cell;
  readonly task: UnitTask;
}

const preprocess = "imagenet";

async function unitsOfCells(cells: readonly Cell[], store: UnitStore, settings: RunSettings): Promise<CellUnit[]> {
  const { choice } = settings;
  const data = dataFolder();
  const given = { data: `cifar10:${join(data, "cifar10")}`, preprocess };
  const model = join(data, "resnet_cifar10", "resnet20.onnx");
  const make = unitsOf(await unitSource(model, given, undefined, console.error));
  const engine = selectEngine(choice.engine);
  const units: CellUnit[] = [];
  for (const cell of cells) {
    const command = addSchemaOptions(new Command(), runFlags).parse(runOptionsOf(cell, settings), { from: "user" });
    const options = runFromFlags(command.opts()).run;
    const unit = await make({ options, engine, ...(choice.precision && { precision: choice.precision }) });
    units.push({ cell, task: taskOf(unit, { name: cell.id, out: store.address, given }) });
  }
  return units;
}

/** Gives each as soon as it is done; what fails is printed, and the others go on. Gives how many failed. */
export async function runCells(
  cells: readonly Cell[],
  settings: RunSettings,
  done: (record: CellRecord) => void,
): Promise<number> {
  const store = await openStore(settings.out);
  const units = await unitsOfCells(cells, store, settings);
  let failures = 0;
  const ended = async ({ cell }: CellUnit, result: UnitResult): Promise<void> => {
    if ("report" in result) done(recordOf(cell, settings, result.report));
    else {
      failures++;
      console.error(`${cell.id} failed: ${result.error.message}`);
    }
  };
  await (settings.queue === undefined
    ? inTurn(units, store, settings, ended)
    : byWorkers(units, store, settings.queue, ended));
  return failures;
}

type Ended = (unit: CellUnit, result: UnitResult) => Promise<void>;

/** Each in a process of its own, whose memory is the cell's. */
async function inTurn(
  units: readonly CellUnit[],
  store: UnitStore,
  { threads }: RunSettings,
  ended: Ended,
): Promise<void> {
  for (const unit of units) {
    const child = unitChild(threads);
    await ended(unit, await tryUnit(unit.task, store, child.compute, {}).finally(child.close));
  }
}

async function byWorkers(units: readonly CellUnit[], store: UnitStore, url: string, ended: Ended): Promise<void> {
  const { signal } = new AbortController();
  const note = console.error;
  const queue = await openUnitQueue({ url, signal, note });
  const execute = throughQueue<CellUnit>(queue, store, { signal, note, onLook: () => {} });
  await execute(units, ended).finally(queue.close);
}

function recordOf(cell: Cell, settings: RunSettings, report: Report): CellRecord {
  const { engine, precision } = settings.choice;
  const { processor, threads } = report.machine;
  return {
    id: cell.id,
    name: nameOf(cell),
    seed: cell.seed,
    setting: engineTitle(settings.choice),
    top1: report.top1,
    seconds: report.seconds,
    steps: report.training.steps,
    peakMemoryMb: report.peakMemoryMb,
    argmaxAgreement: report.verification?.argmaxAgreement ?? null,
    options: [
      ...runOptionsOf(cell, settings),
      ...["--preprocess", preprocess, "--engine", engine, "--threads", String(threads)],
      ...(precision === undefined ? [] : ["--precision", precision]),
    ],
    versions: report.versions,
    machine: settings.queue === undefined ? machineName() : processorName(processor),
    finishedAt: report.createdAt,
  };
}
