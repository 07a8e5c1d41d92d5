// Runs one cell as a user would: the command `quantize` in a separate process.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Report } from "../../src/report/report.ts";
import { type EngineChoice, engineTitle } from "../steps/variants.ts";
import { dataFolder, machineName, root } from "../support/machine.ts";
import { type Cell, nameOf } from "./cells.ts";
import type { CellRecord } from "./records.ts";

export interface RunSettings {
  readonly choice: EngineChoice;
  readonly threads: number;
  /** Samples of each split, for tries. */
  readonly limit?: number;
  /** Where each cell's model and report go. */
  readonly folder: string;
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

function optionsOf(cell: Cell, { choice, threads, limit }: RunSettings): string[] {
  return [
    ...methodOptions(cell),
    ...["--calibration-samples", "512", "--preprocess", "imagenet", "--seed", String(cell.seed)],
    ...["--placement", "inputs", "--accuracies", "deployed"],
    ...["--engine", choice.engine, "--threads", String(threads)],
    ...(choice.precision === undefined ? [] : ["--precision", choice.precision]),
    ...(limit === undefined ? [] : ["--limit", String(limit)]),
  ];
}

export function runCell(cell: Cell, settings: RunSettings): CellRecord {
  const options = optionsOf(cell, settings);
  const data = dataFolder();
  const out = join(settings.folder, engineTitle(settings.choice).replace(" ", "-"), cell.id);
  const command = [
    ...[join(root, "dist", "cli", "main.js"), "quantize", join(data, "resnet_cifar10", "resnet20.onnx")],
    ...["--data", `cifar10:${join(data, "cifar10")}`, "--out", out, ...options],
  ];
  const { status, stderr } = spawnSync(process.execPath, command, {
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (status !== 0) throw new Error(`${cell.id} failed: ${stderr.trim().split("\n").at(-1) ?? ""}`);
  const report = JSON.parse(readFileSync(join(out, "report.json"), "utf8")) as Report;
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
    options,
    versions: report.versions,
    machine: machineName(),
    finishedAt: report.createdAt,
  };
}
