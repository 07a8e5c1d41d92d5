// The page of a sweep.
import { cellColumns, figureTitle, howManyAreDone, shown } from "./cells-table.ts";
import { amountAxis, draw, frontLine, grid, legend, marks, seriesColors, valueAxis } from "./chart-parts.ts";
import { formatBytes } from "./format-bytes.ts";
import { formatDigits } from "./format-digits.ts";
import { formatMeasure, formatSpread, measureTitle } from "./format-spread.ts";
import { type Html, html } from "./html.ts";
import { type Column, chart, grouped, page, pairs, section, table } from "./page.ts";
import type { Sweep, SweepSetting, SweepUnit } from "./sweep.ts";

type Measure = NonNullable<Sweep["measure"]>;

/** The sweep as a self-contained page, which links the reports of its units. */
export const renderSweep = (sweep: Sweep): string =>
  page(
    sweep.title,
    html`<h1>${sweep.title}</h1>
<p class="muted">${sweep.models.map(({ path }) => path).join(", ")} on ${sweep.data}</p>
${lead(sweep)}${charts(sweep)}
${section("Settings", settingsLead(sweep), settingsTable(sweep))}
${section("Units", "Each with its report.", unitsTable(sweep))}
<h2>Details</h2>${pairs("Axes", [...sweep.axes.map(({ path, values }) => [path, values.map((value) => JSON.stringify(value)).join(", ")] as const), ["seed", sweep.seeds.join(", ")]])}
${pairs("Versions", Object.entries(sweep.versions))}`,
  );

const unitsOf = ({ settings }: Sweep): readonly SweepUnit[] => settings.flatMap(({ units }) => units);

const lead = (sweep: Sweep): Html => html`<p class="lead">${howManyAreDone(unitsOf(sweep), "units")}</p>`;

interface Amount {
  readonly front: "size" | "latency";
  readonly title: string;
  readonly of: (setting: SweepSetting) => number | null;
  readonly format: (value: number) => string;
}

const amounts: readonly Amount[] = [
  { front: "size", title: "size", of: ({ sizeBytes }) => sizeBytes, format: formatBytes },
  {
    front: "latency",
    title: "latency of one sample",
    of: ({ latencyMs }) => latencyMs,
    format: (ms) => `${formatDigits(ms)} ms`,
  },
];

function charts({ measure, settings }: Sweep): Html {
  if (!measure) return html``;
  return html`<div class="charts">${amounts.map((amount) => frontChart(measure, settings, amount))}</div>`;
}

function frontChart(measure: Measure, settings: readonly SweepSetting[], { front, title, of, format }: Amount): Html {
  const point = (setting: SweepSetting): readonly number[] | undefined => {
    const amount = of(setting);
    return amount === null || setting.result === null ? undefined : [amount, setting.result.mean];
  };
  const pointsOf = (some: readonly SweepSetting[]): (readonly number[])[] => some.flatMap((one) => [point(one) ?? []]);
  const on = settings.filter(({ fronts }) => fronts.includes(front));
  const off = settings.filter((setting) => !on.includes(setting) && point(setting) !== undefined);
  const best = pointsOf(on).toSorted(([a], [b]) => a - b);
  const svg = draw(front, `${measure.name} by ${title}`, 320, {
    legend,
    grid,
    xAxis: amountAxis(format),
    yAxis: valueAxis(measureTitle(measure), { scale: true }),
    series: [
      { ...frontLine("front", best), step: "end" },
      marks("on the front", best, { color: seriesColors[1], symbol: "circle" }),
      marks("others", pointsOf(off), { color: "var(--frozen)", symbol: "circle" }),
    ],
  });
  return chart(
    `By ${title}`,
    `${measureTitle(measure)}; ${measure.better} is better. On the front: nothing is as good and ${front === "size" ? "smaller" : "faster"}, or better and no ${front === "size" ? "larger" : "slower"}.`,
    svg,
  );
}

function settingsLead({ measure, seeds, models }: Sweep): string {
  if (!measure) return "No unit is done yet.";
  const floats = models.flatMap(({ path, float }) =>
    float === null ? [] : [`${path} ${formatMeasure(float, measure.unit)}`],
  );
  const of = seeds.length > 1 ? "Means over seeds, with sample deviations (how many)" : "One seed";
  return `${measureTitle(measure)} of the written model in ONNX Runtime, on ${grouped(measure.samples)} test samples. ${of}.${floats.length > 0 ? ` Float: ${floats.join(", ")}.` : ""} Fronts: settings that none beats in the figure and the size, the figure and the latency, or all three.`;
}

function settingsTable({ measure, settings, models }: Sweep): Html {
  const modelColumn: Column<SweepSetting> = { title: "model", kind: "text", of: ({ model }) => model };
  return table<SweepSetting>(
    [
      ...(models.length > 1 ? [modelColumn] : []),
      { title: "setting", kind: "text", of: ({ name }) => name },
      {
        title: figureTitle(measure),
        kind: "number",
        of: ({ result }) => formatSpread(result, measure?.unit ?? ""),
      },
      ...amounts.map(
        ({ title, of, format }): Column<SweepSetting> => ({
          title,
          kind: "number",
          of: (setting) => shown(of(setting), format),
        }),
      ),
      { title: "fronts", kind: "text", of: ({ fronts }) => fronts.join(", ") },
    ],
    settings,
  );
}

interface UnitRow extends SweepUnit {
  readonly setting: string;
}

function unitsTable({ settings, measure, models }: Sweep): Html {
  const rows = settings.flatMap(({ model, name, units }) =>
    units.map((unit): UnitRow => ({ ...unit, setting: models.length > 1 ? `${model}, ${name}` : name })),
  );
  return table<UnitRow>(
    [
      { title: "", kind: "number", of: ({ index }) => index },
      ...cellColumns(measure),
      { title: "run", kind: "number", of: ({ seconds }) => shown(seconds, (s) => `${s.toFixed(0)} s`) },
    ],
    rows,
  );
}
