// What mixed precision chose from: each layer's bits, what other budgets would lose, and what each layer loses at each width.

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
import { layerBars } from "./charts.ts";
import { formatBytes } from "./format-bytes.ts";
import { formatDigits } from "./format-digits.ts";
import { type Html, html } from "./html.ts";
import { type Column, chart, details, grouped, section, table } from "./page.ts";
import type { Report, WidthsReport } from "./report.ts";

export function widthSection({ widths }: Report): Html {
  if (!widths) return html``;
  const [chosen] = widths.plans;
  const how =
    chosen.by === "uniform" ? "no plan was better than the same bits for all layers" : `chosen by ${chosen.by}`;
  return section(
    "Mixed precision",
    `${printAmount(widths, chosen.amount)} of at most ${printAmount(widths, widths.budget.most)}, ${how}. Below 8 bits, layers make the file smaller, not faster.`,
    html`<div class="charts">${bitsChart(widths)}${frontChart(widths)}</div>
${sizeTable(widths)}${planTable(widths)}${sensitivityTables(widths)}${recipe(widths)}`,
  );
}

function printAmount({ budget: { unit } }: WidthsReport, amount: number): string {
  if (unit === "bytes") return formatBytes(Math.round(amount));
  if (unit === "bops") return `${formatDigits(amount / 1e9)} G bit operations`;
  return unit === "bits" ? `${amount.toFixed(2)} bits a weight` : `${formatDigits(amount)} ms`;
}

const nameOf = ({ names }: WidthsReport["layers"][number]): string => names.join(", ");

function bitsChart({ layers }: WidthsReport): Html {
  const svg = layerBars({
    id: "bits",
    label: "Bits of each layer's weight",
    layers: layers.map((layer) => ({ name: nameOf(layer), value: layer.bits })),
    format: String,
    marked: layers.filter(({ isGiven }) => isGiven).map(nameOf),
  });
  const given = layers.some(({ isGiven }) => isGiven) ? " In the second colour those whose bits were given." : "";
  return chart("Bits", `Of each layer's weight.${given}`, svg);
}

/** Losses differ by orders of magnitude; what loses nothing is drawn at the bottom. */
function frontChart(widths: WidthsReport): Html {
  const { front, uniform, sensitivities, plans, budget } = widths;
  const by = sensitivities[0]?.by ?? "";
  const losses = [...front, ...uniform].map(({ loss }) => loss).filter((loss) => loss > 0);
  if (losses.length === 0) return html``;
  const lowest = Math.min(...losses);
  const point = ({ amount, loss }: { readonly amount: number; readonly loss: number }): readonly number[] => [
    amount,
    Math.max(loss, lowest),
  ];
  const predicted = plans.map((plan) => [plan.amount, Math.max(lossOf(widths, plan.bits), lowest)]);
  const axis = budget.unit === "bytes" ? (value: number) => formatBytes(value) : short;
  const svg = draw("front", "Predicted loss by budget", 320, {
    legend,
    grid,
    xAxis: amountAxis(axis),
    yAxis: {
      ...valueAxis("loss", { scale: true }),
      type: "log",
      axisLabel: { color: muted, formatter: short },
    },
    series: [
      frontLine("best plan", front.map(point)),
      {
        ...marks("uniform", uniform.map(point), { color: seriesColors[2], symbol: "rect" }),
        label: {
          show: true,
          position: "right",
          color: text,
          formatter: (item: { dataIndex: number }) => `${uniform[item.dataIndex].bits}`,
        },
      },
      marks("tried", predicted.slice(1), { color: muted, symbol: "circle" }),
      marks("chosen", predicted.slice(0, 1), { color: seriesColors[1], symbol: "diamond" }),
    ],
  });
  const unit = { bits: "bits a weight", bytes: "size of the file", ms: "milliseconds", bops: "bit operations" }[
    budget.unit
  ];
  return chart(
    "Budgets",
    `Sum of what single layers lose by ${by}, against ${unit}: the best plan within each budget, the same bits for all layers, and the plans that were tried. Losses of single layers add up only while they are small.`,
    svg,
  );
}

const short = (value: number): string => String(Number(value.toPrecision(3)));

/** By the first sensitivity. */
function lossOf({ sensitivities }: WidthsReport, bits: readonly number[]): number {
  const losses = sensitivities[0]?.losses ?? [];
  return bits.reduce((sum, width, i) => sum + (losses[i]?.[String(width)] ?? 0), 0);
}

/** The largest first. */
function sizeTable({ layers }: WidthsReport): Html {
  const sizeOf = ({ weights, bits }: WidthsReport["layers"][number]): number => (weights * bits) / 8;
  const all = layers.reduce((sum, layer) => sum + sizeOf(layer), 0);
  return details(
    `Bits and size by layer: weights of ${formatBytes(Math.ceil(all))} in all, scales and zero points not counted`,
    table<WidthsReport["layers"][number]>(
      [
        { title: "layer", kind: "name", of: nameOf },
        { title: "weights", kind: "number", of: ({ weights }) => grouped(weights) },
        { title: "bits", kind: "number", of: ({ bits }) => bits },
        { title: "size", kind: "number", of: (layer) => formatBytes(Math.ceil(sizeOf(layer))) },
        { title: "share", kind: "number", of: (layer) => `${((100 * sizeOf(layer)) / all).toFixed(1)} %` },
      ],
      [...layers].sort((a, b) => sizeOf(b) - sizeOf(a)),
    ),
  );
}

const planTable = (widths: WidthsReport): Html =>
  details(
    "Plans that were tried",
    table<WidthsReport["plans"][number]>(
      [
        { title: "chosen by", kind: "name", of: ({ by }) => by },
        { title: "takes", kind: "number", of: ({ amount }) => printAmount(widths, amount) },
        { title: "the whole network loses", kind: "number", of: ({ divergence }) => formatDigits(divergence) },
        { title: "predicted", kind: "number", of: ({ bits }) => formatDigits(lossOf(widths, bits)) },
      ],
      widths.plans,
    ),
  );

interface Row {
  readonly layer: WidthsReport["layers"][number];
  readonly losses: Readonly<Record<string, number>>;
}

/** One for each measure, the layers that lose most at the narrowest width first. */
function sensitivityTables({ sensitivities, layers }: WidthsReport): Html {
  const tables = sensitivities.map(({ by, losses }) => {
    const bits = [...new Set(losses.flatMap((each) => Object.keys(each)))].map(Number).sort((a, b) => a - b);
    const rows = losses
      .map((each, i): Row => ({ layer: layers[i], losses: each }))
      .sort((a, b) => (b.losses[String(bits[0])] ?? 0) - (a.losses[String(bits[0])] ?? 0));
    const columns: readonly Column<Row>[] = [
      { title: "layer", kind: "name", of: ({ layer }) => nameOf(layer) },
      { title: "weights", kind: "number", of: ({ layer }) => grouped(layer.weights) },
      ...bits.map((width) => ({
        title: `${width} bits`,
        kind: "number" as const,
        of: ({ losses: own }: Row) => (own[String(width)] === undefined ? "–" : formatDigits(own[String(width)])),
      })),
      { title: "chosen", kind: "number", of: ({ layer }) => layer.bits },
    ];
    return details(`What each layer loses at each width, by ${by}`, table(columns, rows));
  });
  return html`${tables}`;
}

/** As YAML, which takes strings of JSON. */
function recipe({ layers }: WidthsReport): Html {
  const lines = layers.flatMap(({ names, bits }) =>
    names.map((name) => `    ${JSON.stringify(name)}: { weights: ${bits} }`),
  );
  return details(
    "These bits as a recipe",
    html`<p class="muted">In place of mixed precision; change what you want.</p><pre class="scroll">${["quantize:", "  layers:", ...lines].join("\n")}</pre>`,
  );
}
