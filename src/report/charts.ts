// The charts of a run's report.
import { accuracyName } from "../evaluate/metrics.ts";
import {
  categoryAxis,
  draw,
  grid,
  layerAxis,
  layerHeight,
  legend,
  line,
  muted,
  seriesColors,
  text,
  valueAxis,
  verticalAt,
} from "./chart-parts.ts";
import { formatBytes } from "./format-bytes.ts";
import { formatDigits } from "./format-digits.ts";
import type { Html } from "./html.ts";
import type { Report } from "./report.ts";

/** How many points each of at most `most` stretches of the curve has. */
const stretchOf = (points: number, max: number): number => Math.ceil(points / max);

/** A mean over each of at most `most` stretches of the curve. */
export function smooth(points: readonly (readonly [number, number])[], most: number): (readonly [number, number])[] {
  const size = stretchOf(points.length, most);
  const result: (readonly [number, number])[] = [];
  for (let start = 0; start < points.length; start += size) {
    const part = points.slice(start, start + size);
    result.push([part[part.length - 1][0], part.reduce((sum, [, y]) => sum + y, 0) / part.length]);
  }
  return result;
}

/** `20k` */
const compact = (value: number): string => (value >= 1000 ? `${value / 1000}k` : String(value));

/** The legend says what a point is: the loss of one step, or a mean. */
function lossLine(points: readonly (readonly [number, number])[], most: number, style: object): object {
  const size = stretchOf(points.length, most);
  const name = size === 1 ? "one step" : `mean of ${size} steps`;
  return { name, type: "line", data: smooth(points, most), showSymbol: false, ...style };
}

export function lossChart(report: Report): Html {
  const points = report.training.lossCurve.map(({ samples, loss }) => [samples, loss] as const);
  const fine = lossLine(points, 400, { lineStyle: { width: 1, opacity: 0.4 } });
  const coarse = lossLine(points, 40, { lineStyle: { width: 2.5 }, itemStyle: { color: seriesColors[1] } });
  return draw("loss", "Training loss", 360, {
    legend,
    grid,
    xAxis: valueAxis("", {
      splitLine: { show: false },
      axisLabel: { color: muted, hideOverlap: true, formatter: compact },
    }),
    yAxis: valueAxis("loss", { scale: true }),
    series: stretchOf(points.length, 40) === 1 ? [coarse] : [fine, coarse],
  });
}

const accuracyNames = ["float", "ptq", "trained", "quantized", "deployed"] as const;
const accuracyColors = { float: muted, ptq: seriesColors[1] } as Readonly<Record<string, string>>;

/** Whole steps from below the lowest value to above the highest. */
function percentAxis(values: readonly number[]): { min: number; max: number; interval: number } {
  const lowest = Math.min(...values);
  const highest = Math.max(...values);
  const interval = [0.5, 1, 2, 5, 10].find((step) => (highest - lowest) / step <= 4) ?? 20;
  const min = Math.max(0, interval * (Math.ceil(lowest / interval) - 1));
  return { min, max: Math.min(100, interval * (Math.floor(highest / interval) + 1)), interval };
}

/** Points, since the axis need not start at 0; a line marks the float model. */
export function accuracyChart({ top1, metrics: { deployed } }: Report): Html {
  const names = accuracyNames.filter((name) => top1[name] !== null);
  const values = names.map((name) => top1[name] as number);
  const reference = top1.float === null ? {} : { markLine: verticalAt(top1.float) };
  return draw(
    "accuracy",
    deployed && accuracyName(deployed) !== "top-1" ? "Accuracy" : "Top-1 accuracy",
    44 + 56 * names.length,
    {
      grid: { ...grid, top: 12, right: 52 },
      xAxis: valueAxis("", { ...percentAxis(values), axisLabel: { color: muted, formatter: "{value} %" } }),
      yAxis: categoryAxis(names, {
        inverse: true,
        axisLine: { show: false },
        splitLine: { show: true, lineStyle: { color: line, type: "dotted" } },
      }),
      series: [
        {
          type: "scatter",
          symbolSize: 12,
          z: 6,
          data: names.map((name, i) => ({
            value: [values[i], i],
            itemStyle: { color: accuracyColors[name] ?? seriesColors[0] },
          })),
          label: {
            show: true,
            position: "right",
            color: text,
            fontWeight: "bold",
            backgroundColor: "var(--card)",
            padding: 2,
            formatter: (item: { value: readonly number[] }) => item.value[0].toFixed(2),
          },
          ...reference,
        },
      ],
    },
  );
}

type BarValue = number | { readonly value: number; readonly itemStyle: object };

const bar = (data: readonly BarValue[], format: (value: number) => string, more: object = {}): object => ({
  type: "bar",
  data,
  barMaxWidth: 22,
  label: {
    show: true,
    position: "right",
    color: text,
    formatter: (item: { value: number }) => format(item.value),
  },
  ...more,
});

const colored = (value: number, color: string): BarValue => ({ value, itemStyle: { color } });

/** The float model's figure in the colour of what is left behind. */
const beforeAfter = ([before, after]: readonly number[]): BarValue[] => [
  colored(before, muted),
  colored(after, seriesColors[0]),
];

export function sizeChart({ sizeBytes }: Report): Html {
  return draw("size", "File size", 84, {
    grid: { ...grid, top: 0, right: 72 },
    xAxis: valueAxis("", { axisLabel: { show: false }, splitLine: { show: false } }),
    yAxis: categoryAxis(["float", "quantized"], { inverse: true }),
    series: [bar(beforeAfter([sizeBytes.float, sizeBytes.quantized]), formatBytes)],
  });
}

/** One chart per batch size: the times differ by two orders of magnitude. */
export function latencyChart({ latencyMs }: Report, batch: "batch1" | "batch256"): Html {
  const models = ["float", "deployed"] as const;
  const values = models.map((model) => latencyMs[model][batch] ?? 0);
  return draw(batch, `Latency in ONNX Runtime, batch of ${batch.slice(5)}`, 84, {
    grid: { ...grid, top: 0, right: 72 },
    xAxis: valueAxis("", { axisLabel: { show: false }, splitLine: { show: false } }),
    yAxis: categoryAxis(models, { inverse: true }),
    series: [bar(beforeAfter(values), (value) => `${formatDigits(value)} ms`)],
  });
}

export interface LayerBars {
  readonly id: string;
  readonly label: string;
  readonly layers: readonly { readonly name: string; readonly value: number }[];
  readonly format: (value: number) => string;
  /** Names of the layers to look at first. */
  readonly marked?: readonly string[];
}

const lowestDrawn = -40;

/** One bar per layer, its figure beside it; no axis is needed. */
export function layerBars({ id, label, layers, format, marked = [] }: LayerBars): Html {
  const data = layers.map(({ name, value }) => colored(value, seriesColors[marked.includes(name) ? 1 : 0]));
  const names = layers.map(({ name }) => name);
  // What is far below all others, as -1000 dB, would leave them no length; its figure says what it is.
  const isFarBelow = layers.some(({ value }) => value < lowestDrawn);
  const option = {
    grid: { ...grid, top: 4, right: 56 },
    xAxis: valueAxis("", {
      axisLabel: { show: false },
      splitLine: { show: false },
      ...(isFarBelow && { min: lowestDrawn }),
    }),
    yAxis: layerAxis(names),
    series: [bar(data, format, { barMaxWidth: 10 })],
  };
  return draw(id, label, layerHeight(layers.length), option, names);
}

const shareTrained = (layers: Report["layers"]): object => ({
  name: "share of weights trained",
  type: "bar",
  data: layers.map(({ weights }) => (weights.all === 0 ? 0 : weights.trained / weights.all)),
  barMaxWidth: 7,
});

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);

/** Per layer: the mean importance of its channels relative to the most important layer, and what share of its weights trained. */
export function trainedChart({ layers, training }: Report): Html {
  const importance = layers.map((layer) => mean(layer.importance));
  const most = Math.max(...importance, Number.MIN_VALUE);
  const names = layers.map(({ name }) => name);
  const option = {
    legend,
    grid,
    xAxis: valueAxis("", { min: 0, max: 1 }),
    yAxis: layerAxis(names),
    series: [
      { name: "importance (relative)", type: "bar", data: importance.map((value) => value / most), barMaxWidth: 7 },
      ...(training.steps > 0 ? [shareTrained(layers)] : []),
    ],
  };
  return draw("trained", "Importance and share trained per layer", layerHeight(layers.length) + 48, option, names);
}
