// The cells of ResNet-20's part of the EfQAT paper's tables: what is run for each, and in which order.
import type { EfqatOptions } from "../../src/methods/efqat/options.ts";
import type { QparamTraining } from "../../src/training/qparam-training.ts";
import { type Bits, intervals, type Mode, modes, qparamTrainings, ratios } from "./paper.ts";

/** A cell without its seed. */
export interface Variant {
  readonly bits: Bits | "float";
  readonly method: "float" | "ptq" | "qat" | "efqat";
  readonly mode: Mode;
  /** Per cent. */
  readonly ratio: number;
  /** Samples between two selections. */
  readonly refreshEvery: number;
  readonly qparamTraining: QparamTraining;
  readonly qparamLr: number;
  readonly importance: EfqatOptions["importance"];
  readonly ratioCounts: EfqatOptions["ratioCounts"];
}

export interface Cell extends Variant {
  readonly id: string;
  readonly seed: number;
}

/** Table 4 was made selecting again at every batch of 128. */
const usual: Variant = {
  bits: "w4a8",
  method: "efqat",
  mode: "cwpn",
  ratio: 0,
  refreshEvery: 128,
  qparamTraining: "direct",
  qparamLr: 1e-6,
  importance: "magnitude",
  ratioCounts: "blocks",
};

export const ptq = (bits: Bits): Variant => ({ ...usual, bits, method: "ptq" });
export const qat = (bits: Bits): Variant => ({ ...usual, bits, method: "qat" });
export const floatPlusOne: Variant = { ...usual, bits: "float", method: "float" };

/** At 0 % all modes are one cell; the channels of a layer are all of one size. */
export const efqat = (bits: Bits, mode: Mode, ratio: number, changes: Partial<Variant> = {}): Variant => ({
  ...usual,
  bits,
  mode: ratio === 0 ? "cwpn" : mode,
  ratio,
  ...changes,
  ...(mode === "cwpl" ? { ratioCounts: "blocks" } : {}),
});

/** "w4a8/cwpn-5", with what differs from Table 4's setting behind it. */
export function nameOf(variant: Variant): string {
  const { bits, method, mode, ratio, refreshEvery, qparamTraining, qparamLr, importance, ratioCounts } = variant;
  if (method === "float") return "float+1";
  if (method !== "efqat") return `${bits}/${method}`;
  const parts = [
    bits,
    ratio === 0 ? "efqat-0" : `${mode}-${ratio}`,
    ...(refreshEvery === usual.refreshEvery ? [] : [`f${refreshEvery}`]),
    ...(qparamTraining === usual.qparamTraining ? [] : [qparamTraining]),
    ...(qparamLr === usual.qparamLr ? [] : [`qlr${qparamLr.toExponential()}`]),
    ...(importance === usual.importance ? [] : [importance]),
    ...(ratioCounts === usual.ratioCounts ? [] : [`of-${ratioCounts}`]),
  ];
  return parts.join("/");
}

const widths: readonly Bits[] = ["w4a8", "w4a4", "w8a8"];
const ofAllWidths = (make: (bits: Bits) => readonly Variant[]): Variant[] => widths.flatMap(make);
const ofAllModes = (ratio: number): Variant[] => ofAllWidths((bits) => modes.map((mode) => efqat(bits, mode, ratio)));

/** Table 6's rows; the first is Table 4's. */
export const intervalVariants = (refreshEvery: number): Variant[] =>
  ratios.slice(1).map((ratio) => efqat("w8a8", "cwpn", ratio, { refreshEvery }));

/** Table 7's rows; the first is Table 4's. */
export const qparamVariants = (qparamTraining: Variant["qparamTraining"], qparamLr: number): Variant[] =>
  ratios.slice(0, 4).map((ratio) => efqat("w4a8", "cwpn", ratio, { qparamTraining, qparamLr }));

/** What each row changes of Table 4's setting at W4A4, to find what keeps EfQAT below QAT. */
export const changes: readonly (readonly [title: string, change: Partial<Variant>])[] = [
  ["as in Table 4", {}],
  ["blocks drawn, again at every batch", { importance: "random" }],
  ["the share counts weights, not blocks", { ratioCounts: "weights" }],
  ["scales trained at 1e-4", { qparamLr: 1e-4 }],
];

/** The columns: those of Table 4's cells at W4A4 that are lowest. */
export const changedCells: readonly (readonly [mode: Mode, ratio: number])[] = [
  ["lwpn", 5],
  ["lwpn", 25],
  ["cwpn", 5],
  ["cwpl", 5],
];

export const changedVariants = (change: Partial<Variant>): Variant[] =>
  changedCells.map(([mode, ratio]) => efqat("w4a4", mode, ratio, change));

/** What tells most comes first. */
function variantsInOrder(): Variant[] {
  const all = [
    ...ofAllWidths((bits) => [ptq(bits)]),
    ...ofAllWidths((bits) => [qat(bits)]),
    ...ofAllWidths((bits) => [efqat(bits, "cwpn", 0)]),
    ...ofAllModes(5),
    ...ofAllModes(25),
    floatPlusOne,
    ...ofAllModes(10),
    ...ofAllModes(50),
    ...Object.keys(intervals).flatMap((interval) => intervalVariants(Number(interval))),
    ...changes.flatMap(([, change]) => changedVariants(change)),
    ...qparamTrainings.flatMap(({ training, learningRate }) => qparamVariants(training, learningRate)),
  ];
  return [...new Map(all.map((variant) => [nameOf(variant), variant])).values()];
}

/** Every cell, all of one seed before the next seed's. */
export const cellsOf = (seeds: readonly number[]): Cell[] =>
  seeds.flatMap((seed) =>
    variantsInOrder().map((variant) => ({ ...variant, seed, id: `${nameOf(variant)}/seed${seed}` })),
  );
