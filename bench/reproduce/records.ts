// The raw figures of a reproduction: one record a finished cell, one a finished run of timings, in a file that is committed.
import { existsSync, readFileSync } from "node:fs";
import { z } from "zod";
import { writeJson } from "../support/machine.ts";

const percent = z.number().nullable();

const cellRecord = z.object({
  id: z.string(),
  /** The id without the seed. */
  name: z.string(),
  seed: z.int(),
  /** "native mixed": what computed it. */
  setting: z.string(),
  top1: z.object({ float: percent, ptq: percent, trained: percent, quantized: percent, deployed: percent }),
  seconds: z.record(z.string(), z.number()),
  steps: z.int(),
  /** Of the whole process; a worker's has computed other cells before. */
  peakMemoryMb: z.number(),
  argmaxAgreement: z.number().nullable(),
  /** The command's, without folders. */
  options: z.array(z.string()),
  versions: z.record(z.string(), z.string()),
  machine: z.string(),
  finishedAt: z.string(),
});

const timingRecord = z.object({
  setting: z.string(),
  machine: z.string(),
  versions: z.record(z.string(), z.string()),
  finishedAt: z.string(),
  /** The load that others put on the machine before. */
  loadBefore: z.number(),
  stepsPerEpoch: z.int(),
  forwardMs: z.number(),
  /** By variant ("cwpn-5", "qat"): the step's median less the forward program's. */
  backwardMs: z.record(z.string(), z.number()),
  /** Of one selection among the channels of the whole network. */
  selectMs: z.number(),
});

const rawFile = z.object({
  format: z.literal("frostbit-reproduction-1"),
  cells: z.array(cellRecord),
  timings: z.array(timingRecord),
});

export type CellRecord = z.infer<typeof cellRecord>;
export type TimingRecord = z.infer<typeof timingRecord>;
export type RawFile = z.infer<typeof rawFile>;

export const readRaw = (path: string): RawFile =>
  existsSync(path)
    ? rawFile.parse(JSON.parse(readFileSync(path, "utf8")))
    : { format: "frostbit-reproduction-1", cells: [], timings: [] };

/** Reads again before it writes, so that runs of other cells may go on beside. A cell's older record is replaced. */
export function addCell(path: string, record: CellRecord): void {
  const raw = readRaw(path);
  const others = raw.cells.filter(({ id, setting }) => id !== record.id || setting !== record.setting);
  writeJson(path, { ...raw, cells: [...others, record] });
}

export function addTiming(path: string, record: TimingRecord): void {
  const raw = readRaw(path);
  writeJson(path, { ...raw, timings: [...raw.timings.filter(({ setting }) => setting !== record.setting), record] });
}
