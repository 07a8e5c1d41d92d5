// docs/results/efqat-resnet20.md, made of the raw file alone.
import {
  changedCells,
  changedVariants,
  changes,
  efqat,
  floatPlusOne,
  intervalVariants,
  ptq,
  qat,
  qparamVariants,
  type Variant,
} from "./cells.ts";
import { checksSection, comparisonSection } from "./checks.ts";
import * as paper from "./paper.ts";
import type { CellRecord, RawFile, TimingRecord } from "./records.ts";
import { timedRatios } from "./run-timings.ts";
import { accuracyOf, floatOf, type Summary } from "./statistics.ts";

type Cells = readonly CellRecord[];

const notRun = "not run";

const signed = (value: number): string => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

/** "91.31 ± 0.09 (3)": mean, deviation, seeds. */
function printSummary(summary: Summary | undefined): string {
  if (!summary) return notRun;
  const deviation = summary.seeds > 1 ? ` ± ${summary.deviation.toFixed(2)}` : "";
  return `${summary.mean.toFixed(2)}${deviation} (${summary.seeds})`;
}

const printPaper = ([mean, deviation]: paper.Printed): string => `${mean.toFixed(2)} ± ${deviation.toFixed(2)}`;

const tableOf = (header: readonly string[], rows: readonly (readonly string[])[]): string =>
  [header, header.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

/** What ran, what the paper prints, and what both lose against their own float model. */
function threeRows(
  title: string,
  cells: Cells,
  columns: readonly (readonly [Variant, paper.Printed] | undefined)[],
): string[][] {
  const summaries = columns.map((column) => column && accuracyOf(cells, column[0]));
  const float = floatOf(cells);
  const drop = (i: number): string => {
    const column = columns[i];
    if (!column) return "";
    const own = summaries[i];
    const ownDrop = own && float !== undefined ? signed(own.mean - float) : "–";
    return `${ownDrop} / ${signed(column[1][0] - paper.float)}`;
  };
  return [
    [`**${title}**`, ...columns.map((column, i) => (column ? printSummary(summaries[i]) : ""))],
    ["paper", ...columns.map((column) => (column ? printPaper(column[1]) : ""))],
    ["drop, ours / paper's", ...columns.map((_, i) => drop(i))],
  ];
}

function accuracyTable(cells: Cells, bits: paper.Bits): string {
  const printed = paper.accuracies[bits];
  const rows = paper.modes.flatMap((mode) => {
    const zero = mode === "cwpn" ? ([efqat(bits, mode, 0), printed.zero] as const) : undefined;
    const others = paper.ratios.slice(1).map((ratio, i) => [efqat(bits, mode, ratio), printed.modes[mode][i]] as const);
    return threeRows(mode.toUpperCase(), cells, [zero, ...others]);
  });
  const whole = tableOf(
    ["", "PTQ", "QAT"],
    threeRows("all or nothing", cells, [
      [ptq(bits), printed.ptq],
      [qat(bits), printed.qat],
    ]),
  );
  const partial = tableOf(["", ...paper.ratios.map((ratio) => `${ratio} %`)], rows);
  return `#### ${bits.toUpperCase()}\n\n${whole}\n\n${partial}`;
}

function intervalTable(cells: Cells): string {
  const rows = Object.entries(paper.intervals).flatMap(([interval, printed]) => {
    const columns = intervalVariants(Number(interval)).map((variant, i) => [variant, printed[i]] as const);
    return threeRows(`every ${Number(interval).toLocaleString("en")} samples`, cells, columns);
  });
  return tableOf(["CWPN, W8A8", ...paper.ratios.slice(1).map((ratio) => `${ratio} %`)], rows);
}

function qparamTable(cells: Cells): string {
  const rows = paper.qparamTrainings.flatMap(({ training, learningRate, printed }) => {
    const columns = qparamVariants(training, learningRate).map((variant, i) => [variant, printed[i]] as const);
    const title = `${training === "log2" ? "log2 of the scales" : "the scales"}, ${learningRate.toExponential()}`;
    return threeRows(title, cells, columns);
  });
  return tableOf(["CWPN, W4A8", ...paper.ratios.slice(0, 4).map((ratio) => `${ratio} %`)], rows);
}

/** What each change of the setting gives, and how far below our own QAT that is. */
function changesTable(cells: Cells): string {
  const whole = accuracyOf(cells, qat("w4a4"));
  const print = (variant: Variant): string => {
    const summary = accuracyOf(cells, variant);
    if (!summary || !whole) return notRun;
    return `${printSummary(summary)}, ${signed(summary.mean - whole.mean)}`;
  };
  const rows = changes.map(([title, change]) => [`**${title}**`, ...changedVariants(change).map(print)]);
  return tableOf(["W4A4", ...changedCells.map(([mode, ratio]) => `${mode.toUpperCase()} ${ratio} %`)], rows);
}

/** Seconds of backward per epoch, and how many times faster than the same machine's QAT. */
function backwardTable({ backwardMs, stepsPerEpoch }: TimingRecord): string {
  const seconds = (name: string): number => (backwardMs[name] * stepsPerEpoch) / 1000;
  const cell = (value: number, whole: number): string => `${value.toFixed(2)} (${(whole / value).toFixed(2)})`;
  const ours = paper.modes.map((mode) => {
    const names = ["efqat-0", ...timedRatios.map((ratio) => `${mode}-${ratio}`)];
    const values = names.map((name) => cell(seconds(name), seconds("qat")));
    return [`**${mode.toUpperCase()}**`, ...values, seconds("qat").toFixed(2)];
  });
  const papers = Object.entries(paper.backwardSeconds).flatMap(([device, { cwpn, lwpn, qat: whole }]) =>
    Object.entries({ cwpn, lwpn }).map(([mode, values]) => [
      `paper, ${mode.toUpperCase()}, ${device}`,
      ...values.map((value) => cell(value, whole)),
      whole.toFixed(2),
    ]),
  );
  return tableOf(["", "0 %", "5 %", "10 %", "25 %", "QAT"], [...ours, ...papers]);
}

function backwardSection(timing: TimingRecord | undefined): string {
  const how =
    "Seconds of backward per epoch of 390 steps, and in brackets how many times faster than QAT. A step is one program here, so its backward pass is the step's median less the median of its forward nodes alone; optimizers count as backward. Steps of W4A8, in fresh processes, in turn; the selections' own time is not in them.";
  if (!timing) return `${how}\n\nNot run.`;
  const facts = `Timed on ${timing.machine}, ${timing.finishedAt.slice(0, 10)}, load before ${timing.loadBefore.toFixed(1)}; a forward pass takes ${timing.forwardMs.toFixed(1)} ms, a selection among the network's channels ${timing.selectMs.toFixed(1)} ms.`;
  return `${how} ${facts}\n\n${backwardTable(timing)}`;
}

function section(setting: string, raw: RawFile): string {
  const cells = raw.cells.filter((cell) => cell.setting === setting);
  const timing = raw.timings.find((one) => one.setting === setting);
  const float = floatOf(cells);
  const floats = [
    `Float: ${float === undefined ? notRun : float.toFixed(2)} (paper ${paper.float}).`,
    `Float, one more epoch (FP+1): ${printSummary(accuracyOf(cells, floatPlusOne))} (paper ${paper.floatPlusOneEpoch}).`,
  ];
  return [
    `## ${setting}`,
    floats.join(" "),
    checksSection(cells),
    "### Table 4: accuracy by mode and update ratio",
    ...(["w8a8", "w4a8", "w4a4"] as const).map((bits) => accuracyTable(cells, bits)),
    "### What keeps EfQAT below QAT at W4A4",
    "Table 4's cells at 5 % and LWPN's at 25 % with one thing changed, and how far they are from our own QAT.",
    changesTable(cells),
    "### Table 5: time of the backward pass",
    backwardSection(timing),
    "### Table 6: samples between two selections",
    intervalTable(cells),
    "### Table 7: what of the scales is trained, and how fast",
    "The paper does not say at which bits; its figures are CWPN's at W4A8.",
    qparamTable(cells),
  ].join("\n\n");
}

const introduction = `<!-- Written by npm run reproduce -- efqat-resnet20 from bench/results/efqat-resnet20.json. -->

# EfQAT's tables, ResNet-20

ResNet-20 on CIFAR-10, as in arXiv:2411.11038: min-max ranges of 512 training images, weights per channel and symmetric, activations per tensor and asymmetric, the first and last layer too; one epoch of 50,000 images in batches of 128, crops and flips, SGD 0.001 with momentum 0.9 and weight decay 0.0001, qparams by Adam at 0.000001; blocks selected again at every batch. Top-1 in per cent of the exported file in ONNX Runtime over the 10,000 test images: mean ± deviation (seeds). The float model is another checkpoint than the paper's, so the drops from float are what compares.

Run it: \`FROSTBIT_DATA=… npm run reproduce -- efqat-resnet20\`; finished cells are not repeated. \`--list\` shows what is left, \`--only\` and \`--seeds\` choose, \`--engine\` and \`--precision\` say what computes.`;

/** A section for each engine and precision that has records; the one with most comes first. */
export function markdownOf(raw: RawFile): string {
  const counts = new Map<string, number>();
  for (const { setting } of [...raw.cells, ...raw.timings]) counts.set(setting, (counts.get(setting) ?? 0) + 1);
  const settings = [...counts].sort((a, b) => b[1] - a[1]).map(([setting]) => setting);
  const parts = [
    introduction,
    ...comparisonSection(raw, settings),
    ...settings.map((setting) => section(setting, raw)),
  ];
  return `${parts.join("\n\n")}\n`;
}
