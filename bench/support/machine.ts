// Where the benches are, what they run on, and where their raw figures go.
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { dirname, join } from "node:path";
import { versions } from "../../src/node/versions.ts";

/** The repository: the benches are compiled to build/bench/. */
export const root = join(import.meta.dirname, "..", "..", "..");

/** `amd-epyc` */
export const processorName = (model: string): string =>
  model
    .replace(/[^A-Za-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .toLowerCase();

/** `amd-epyc-2-cores`, as result files are named. */
export const machineName = (): string => `${processorName(cpus()[0]?.model ?? "unknown")}-${cpus().length}-cores`;

export function dataFolder(): string {
  const data = process.env["FROSTBIT_DATA"];
  if (!data) throw new Error("Set FROSTBIT_DATA to the folder with resnet_cifar10/resnet20.onnx and cifar10.");
  return data;
}

/** Writes under a temporary name and renames, so that a file is whole or not there. */
export function writeJson(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, `${JSON.stringify(value, null, 1)}\n`);
  renameSync(temporary, path);
}

/** bench/results/<date>-<machine>-<kind>.json, with versions and the load that others put on the machine before. */
export function writeResults(kind: string, loadBefore: number, figures: object): void {
  const name = `${new Date().toISOString().slice(0, 10)}-${machineName()}-${kind}.json`;
  writeJson(join(root, "bench", "results", name), {
    machine: machineName(),
    versions: versions(),
    loadBefore,
    ...figures,
  });
  console.log(`raw figures: bench/results/${name}`);
}

export const loadNow = (): number => loadavg()[0];
