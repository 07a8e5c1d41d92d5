// Charts as inline SVG, drawn by ECharts on the server side; colours are the page's CSS variables.

import { BarChart, LineChart } from "echarts/charts";
import { DataZoomComponent, GridComponent, LegendComponent, MarkLineComponent } from "echarts/components";
import { type EChartsCoreOption, init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import { formatBytes } from "./format-bytes.ts";
import { formatDigits } from "./format-digits.ts";
import { type Html, trusted } from "./html.ts";
import type { Report } from "./report.ts";

use([BarChart, LineChart, DataZoomComponent, GridComponent, LegendComponent, MarkLineComponent, SVGRenderer]);

const text = "var(--text)";
const muted = "var(--muted)";
const line = "var(--line)";
export const seriesColors = ["var(--series-1)", "var(--series-2)", "var(--series-3)", "var(--series-4)"] as const;

/** Narrow, so that the letters stay readable on a phone; the page scales it up. */
const width = 460;

/**
 * Without what serves only a live chart (hover styles, data for events), and with ids that do not count through the life
 * of the process: the same report must give the same bytes.
 */
const plain = (svg: string, id: string): string =>
  svg
    .replace(/<style\s*>[\s\S]*?<\/style>/g, "")
    .replace(/ (ecmeta_\w+|class|pointer-events)="[^"]*"/g, "")
    .replace(/\bzr\d+-/g, `${id}-`);

function draw(id: string, label: string, height: number, option: EChartsCoreOption): Html {
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height });
  chart.setOption({
    animation: false,
    color: [...seriesColors],
    textStyle: { color: text, fontFamily: "inherit" },
    ...option,
  });
  const svg = chart.renderToSVGString({ useViewBox: true });
  chart.dispose();
  const named = plain(svg, id).replace(/^<svg /, `<svg role="img" aria-label="${label}" `);
  return trusted(named);
}

const grid = { left: 8, right: 16, top: 36, bottom: 8, outerBoundsMode: "same", outerBoundsContain: "axisLabel" };
const axisStyle = {
  axisLabel: { color: muted, hideOverlap: true },
  axisLine: { lineStyle: { color: line } },
  splitLine: { lineStyle: { color: line } },
  nameTextStyle: { color: muted },
};
const valueAxis = (name: string, more: object = {}): object => ({
  type: "value",
  name,
  nameGap: 12,
  ...axisStyle,
  ...more,
});
const categoryAxis = (data: readonly string[], more: object = {}): object => ({
  type: "category",
  data,
  axisTick: { show: false },
  ...axisStyle,
  ...more,
});
const legend = { top: 0, left: "center", itemGap: 36, textStyle: { color: text }, inactiveColor: muted };

const shortened = (name: string): string => (name.length > 26 ? `…${name.slice(-25)}` : name);
/** Layers read from top to bottom. */
const layerAxis = (names: readonly string[]): object =>
  categoryAxis(names.map(shortened), { inverse: true, axisLabel: { color: muted, interval: 0, fontSize: 11 } });
const layerHeight = (layers: number): number => 60 + 18 * layers;

/** A mean over each of at most `most` stretches of the curve. */
export function smooth(points: readonly (readonly [number, number])[], most: number): (readonly [number, number])[] {
  const size = Math.ceil(points.length / most);
  const result: (readonly [number, number])[] = [];
  for (let start = 0; start < points.length; start += size) {
    const part = points.slice(start, start + size);
    result.push([part[part.length - 1][0], part.reduce((sum, [, y]) => sum + y, 0) / part.length]);
  }
  return result;
}

export function lossChart(report: Report): Html {
  const points = report.training.lossCurve.map(({ samples, loss }) => [samples, loss] as const);
  return draw("loss", "Training loss", 260, {
    legend,
    grid,
    xAxis: valueAxis("", { splitLine: { show: false } }),
    yAxis: valueAxis("loss", { scale: true }),
    series: [
      {
        name: "each step",
        type: "line",
        data: smooth(points, 400),
        showSymbol: false,
        lineStyle: { width: 1, opacity: 0.4 },
      },
      {
        name: "mean",
        type: "line",
        data: smooth(points, 40),
        showSymbol: false,
        lineStyle: { width: 2.5 },
        itemStyle: { color: seriesColors[1] },
      },
    ],
  });
}

const accuracyNames = ["float", "ptq", "trained", "quantized", "deployed"] as const;

/** From somewhat below the lowest value to above the highest, in whole steps. */
function percentAxis(values: readonly number[]): { min: number; max: number; interval: number } {
  const lowest = Math.min(...values);
  const start = Math.max(0, lowest - (100 - lowest) / 2);
  const interval = [1, 2, 5, 10].find((step) => (100 - start) / step <= 8) ?? 20;
  const max = interval * Math.ceil(Math.max(...values) / interval);
  return { min: interval * Math.floor(start / interval), max, interval };
}

export function accuracyChart({ top1 }: Report): Html {
  const names = accuracyNames.filter((name) => top1[name] !== null);
  const values = names.map((name) => top1[name] as number);
  return draw("accuracy", "Top-1 accuracy", 260, {
    grid,
    xAxis: categoryAxis(names),
    yAxis: valueAxis("%", percentAxis(values)),
    series: [bar("", values, (value) => value.toFixed(2), "top")],
  });
}

const bar = (
  name: string,
  data: readonly number[],
  format: (value: number) => string,
  position: "top" | "right",
  more: object = {},
): object => ({
  name,
  type: "bar",
  data,
  barMaxWidth: 48,
  label: { show: true, position, color: text, formatter: (item: { value: number }) => format(item.value) },
  ...more,
});

export function sizeChart({ sizeBytes }: Report): Html {
  return draw("size", "File size", 130, {
    grid: { ...grid, top: 8, right: 64 },
    xAxis: valueAxis("", { axisLabel: { show: false }, splitLine: { show: false } }),
    yAxis: categoryAxis(["float", "quantized"], { inverse: true }),
    series: [bar("", [sizeBytes.float, sizeBytes.quantized], formatBytes, "right")],
  });
}

/** One chart per batch size: the times differ by two orders of magnitude. */
export function latencyChart({ latencyMs }: Report, batch: "batch1" | "batch256"): Html {
  const models = ["float", "deployed"] as const;
  const values = models.map((model) => latencyMs[model][batch]);
  return draw(batch, `Latency in ONNX Runtime, batch of ${batch.slice(5)}`, 100, {
    grid: { ...grid, top: 8, right: 72 },
    xAxis: valueAxis("", { axisLabel: { show: false }, splitLine: { show: false } }),
    yAxis: categoryAxis(models, { inverse: true }),
    series: [bar("", values, (value) => `${formatDigits(value)} ms`, "right")],
  });
}

export function sqnrChart({ layers }: Report): Html {
  const measured = layers.filter((layer) => layer.sqnrDb !== null);
  return draw("sqnr", "Signal to quantization noise per layer", layerHeight(measured.length), {
    grid: { ...grid, top: 20, right: 40 },
    xAxis: valueAxis("dB"),
    yAxis: layerAxis(measured.map((layer) => layer.name)),
    series: [
      bar(
        "",
        measured.map((layer) => layer.sqnrDb as number),
        (value) => value.toFixed(1),
        "right",
        { barMaxWidth: 10 },
      ),
    ],
  });
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
  return draw("trained", "Importance and share trained per layer", layerHeight(layers.length) + 20, {
    legend,
    grid,
    xAxis: valueAxis("", { min: 0, max: 1 }),
    yAxis: layerAxis(layers.map((layer) => layer.name)),
    series: [
      { name: "importance (relative)", type: "bar", data: importance.map((value) => value / most), barMaxWidth: 7 },
      ...(training.steps > 0 ? [shareTrained(layers)] : []),
    ],
  });
}
