// The units of a run that reconstructed them: their errors before and after.

import { draw, grid, layerAxis, layerHeight, legend, muted, seriesColors, valueAxis } from "./chart-parts.ts";
import { layerBars } from "./charts.ts";
import { formatDigits } from "./format-digits.ts";
import { type Html, html } from "./html.ts";
import { chart, details, grouped, section, table } from "./page.ts";
import type { LayerReport, Report, UnitReport } from "./report.ts";

/** Nothing where none was reconstructed and nothing rounded. */
export function unitSection({ units, layers }: Report): Html {
  const rounded = layers.filter(({ awayFromNearest }) => awayFromNearest !== null);
  if (units.length === 0 && rounded.length === 0) return html``;
  return section(
    "Rounding",
    lead(rounded),
    html`<div class="charts">${units.length > 0 ? errorChart(units) : ""}${rounded.length > 0 ? awayChart(rounded) : ""}</div>
${units.length > 0 ? unitTable(units) : ""}`,
  );
}

function lead(layers: readonly LayerReport[]): string {
  const sum = (key: "count" | "all"): number =>
    layers.reduce((total, { awayFromNearest }) => total + (awayFromNearest?.[key] ?? 0), 0);
  const [away, all] = [sum("count"), sum("all")];
  return all === 0
    ? ""
    : `${grouped(away)} of ${grouped(all)} weights (${((100 * away) / all).toFixed(1)} %) have another integer than rounding to nearest gives.`;
}

const labelOf = ({ name, phase }: UnitReport, phases: number): string => (phases > 1 ? `${name} (${phase})` : name);
const phasesOf = (units: readonly UnitReport[]): number => Math.max(...units.map(({ phase }) => phase));

function errorChart(units: readonly UnitReport[]): Html {
  const names = units.map((unit) => labelOf(unit, phasesOf(units)));
  const percent = (value: number | null): number | null => (value === null ? null : 100 * value);
  const series = (name: string, data: readonly (number | null)[], color: string): object => ({
    name,
    type: "bar",
    data,
    barMaxWidth: 7,
    itemStyle: { color },
  });
  const svg = draw(
    "units",
    "Error of each unit before and after it trained",
    layerHeight(units.length) + 48,
    {
      legend,
      grid,
      xAxis: valueAxis("", { min: 0, axisLabel: { color: muted, hideOverlap: true, formatter: "{value} %" } }),
      yAxis: layerAxis(names),
      series: [
        series(
          "before",
          units.map(({ before }) => percent(before)),
          muted,
        ),
        series(
          "after",
          units.map(({ after }) => percent(after)),
          seriesColors[0],
        ),
      ],
    },
    names,
  );
  const worse = units.filter(({ kept }) => kept === "before").map((unit) => labelOf(unit, phasesOf(units)));
  const stayed = worse.length === 0 ? "" : ` Stayed as they were, since training made them worse: ${worse.join(", ")}.`;
  return chart(
    "Units",
    `Noise to signal of each unit's outputs on samples held out, before it trained and after.${stayed}`,
    svg,
  );
}

function awayChart(layers: readonly LayerReport[]): Html {
  const svg = layerBars({
    id: "away",
    label: "Share of weights away from nearest",
    layers: layers.map(({ name, awayFromNearest }) => ({
      name,
      value: awayFromNearest ? (100 * awayFromNearest.count) / Math.max(1, awayFromNearest.all) : 0,
    })),
    format: (value) => `${value.toFixed(1)} %`,
  });
  return chart(
    "Rounded the other way",
    "Share of each layer's weights that have another integer than the nearest.",
    svg,
  );
}

const shown = (value: number | null): string => (value === null ? "–" : formatDigits(value));

const unitTable = (units: readonly UnitReport[]): Html =>
  details(
    "Units in figures",
    table<UnitReport>(
      [
        { title: "unit", kind: "name", of: (unit) => labelOf(unit, phasesOf(units)) },
        { title: "error before", kind: "number", of: ({ before }) => shown(before) },
        { title: "after", kind: "number", of: ({ after }) => shown(after) },
        { title: "undecided", kind: "number", of: ({ undecided }) => `${(100 * undecided).toFixed(1)} %` },
        { title: "kept", kind: "name", of: ({ kept }) => (kept === "trained" ? "as trained" : "as before") },
      ],
      units,
    ),
  );
