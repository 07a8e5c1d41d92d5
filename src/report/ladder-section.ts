// What was tried for a goal, and what to type for the neighbours of what was chosen.

import {
  amountAxis,
  draw,
  frontLine,
  grid,
  legend,
  marks,
  muted,
  seriesColors,
  text,
  valueAxis,
} from "./chart-parts.ts";
import { formatBytes } from "./format-bytes.ts";
import { type Html, html } from "./html.ts";
import { chart, grouped, section, table } from "./page.ts";
import { printDrop } from "./print-drop.ts";
import type { LadderReport, Report } from "./report.ts";

type RungReport = LadderReport["rungs"][number];
type Measured = RungReport & { readonly drop: NonNullable<RungReport["drop"]>; readonly sizeBytes: number };

const isMeasured = (rung: RungReport): rung is Measured => rung.drop !== null && rung.sizeBytes !== null;

/** Nothing where the methods were named. */
export function ladderSection({ ladder }: Report): Html {
  if (!ladder) return html``;
  const { validation, isReached, rungs } = ladder;
  const measured = rungs.filter(isMeasured);
  const reached = isReached
    ? ""
    : " Nothing that was tried keeps what was wanted; the file is the one that lost least.";
  return section(
    "What was tried",
    `From what costs least on, each measured on ${grouped(validation.samples)} samples of "${validation.name}"; the test data decided nothing.${reached}`,
    html`${measured.length > 1 ? html`<div class="charts">${frontChart(measured)}</div>` : ""}
${rungTable(rungs)}`,
  );
}

const rungTable = (rungs: readonly RungReport[]): Html =>
  table<RungReport>(
    [
      { title: "tried", kind: "name", of: ({ name, isChosen }) => (isChosen ? `${name} (chosen)` : name) },
      { title: "lost", kind: "number", of: ({ drop, outcome }) => (drop ? printDrop(drop) : outcome) },
      { title: "size", kind: "number", of: ({ sizeBytes }) => (sizeBytes === null ? "–" : formatBytes(sizeBytes)) },
      { title: "of float's time", kind: "number", of: ({ latency }) => (latency === null ? "–" : latency.toFixed(2)) },
      { title: "time", kind: "number", of: ({ seconds }) => (seconds === null ? "–" : `${seconds.toFixed(0)} s`) },
      { title: "expected", kind: "number", of: ({ predictedSeconds }) => `${predictedSeconds.toFixed(0)} s` },
      { title: "to have it", kind: "name", of: ({ flags, why }) => why ?? flags },
    ],
    rungs,
  );

/** Those than which none is both smaller and better. */
const isOnFront = (rung: Measured, all: readonly Measured[]): boolean =>
  !all.some(
    (other) =>
      other.sizeBytes <= rung.sizeBytes &&
      other.drop.mean <= rung.drop.mean &&
      (other.sizeBytes < rung.sizeBytes || other.drop.mean < rung.drop.mean),
  );

function frontChart(rungs: readonly Measured[]): Html {
  const point = ({ sizeBytes, drop }: Measured): readonly number[] => [sizeBytes, drop.mean];
  const front = rungs.filter((rung) => isOnFront(rung, rungs)).toSorted((a, b) => a.sizeBytes - b.sizeBytes);
  const svg = draw("ladder", "What was lost by size", 320, {
    legend,
    grid,
    xAxis: amountAxis(formatBytes),
    yAxis: valueAxis("lost", { scale: true, axisLabel: { color: text } }),
    series: [
      frontLine("front", front.map(point)),
      marks("tried", rungs.filter(({ isChosen }) => !isChosen).map(point), { color: muted, symbol: "circle" }),
      marks("chosen", rungs.filter(({ isChosen }) => isChosen).map(point), {
        color: seriesColors[1],
        symbol: "diamond",
      }),
    ],
  });
  const { what } = rungs[0].drop;
  return chart(
    "Size and loss",
    `What each lost (${what === "accuracy" || what === "mean IoU" ? `points of ${what}` : what === "metric" ? "in the unit of the metric" : `${what}, per cent`}) against the size of its file; the line joins those that none beats in both.`,
    svg,
  );
}
