// What every chart has: how it is drawn, its axes and its colours. Charts are inline SVG, drawn by ECharts on the server side; colours are the page's CSS variables.

import type { EChartsCoreOption } from "echarts/core";
// One file instead of three hundred: loading those takes half a second.
import { init } from "echarts/dist/echarts.esm.min.mjs";
import { escapeHtml, type Html, trusted } from "./html.ts";
import { shortName } from "./short-name.ts";

export const text = "var(--text)";
export const muted = "var(--muted)";
export const line = "var(--line)";
export const seriesColors = ["var(--series-1)", "var(--series-2)", "var(--series-3)", "var(--series-4)"] as const;

/** A phone's, so that the letters stay readable there; three of them side by side fill the page. */
const width = 360;

/**
 * Without what serves only a live chart (hover styles, data for events), and with ids that do not count through the life
 * of the process: the same report must give the same bytes.
 */
const plain = (svg: string, id: string): string =>
  svg
    .replace(/<style\s*>[\s\S]*?<\/style>/g, "")
    .replace(/ (ecmeta_\w+|class|pointer-events)="[^"]*"/g, "")
    .replace(/((?:id|href)="#?|url\(#)zr\d+-/g, `$1${id}-`);

/** Names that are drawn short have the whole in a tooltip; they stand in the drawing in the order of the layers. */
function withWholeNames(svg: string, names: readonly string[]): string {
  let [done, rest] = ["", svg];
  for (const name of names.filter((whole) => shortName(whole) !== whole)) {
    const short = `>${escapeHtml(shortName(name))}</text>`;
    const at = rest.indexOf(short) + 1;
    done += `${rest.slice(0, at)}<title>${escapeHtml(name)}</title>`;
    rest = rest.slice(at);
  }
  return done + rest;
}

/** `layers`: the names along the axis, if it is one of layers. */
export function draw(
  id: string,
  label: string,
  height: number,
  option: EChartsCoreOption,
  layers: readonly string[] = [],
): Html {
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
  return trusted(withWholeNames(named, layers));
}

export const grid = {
  left: 8,
  right: 16,
  top: 36,
  bottom: 8,
  outerBoundsMode: "same",
  outerBoundsContain: "axisLabel",
};
const axisStyle = {
  axisLabel: { color: muted, hideOverlap: true },
  axisLine: { lineStyle: { color: line } },
  splitLine: { lineStyle: { color: line } },
  nameTextStyle: { color: muted },
};
export const valueAxis = (name: string, more: object = {}): object => ({
  type: "value",
  name,
  nameGap: 12,
  ...axisStyle,
  ...more,
});
export const categoryAxis = (data: readonly string[], more: object = {}): object => ({
  type: "category",
  data,
  axisTick: { show: false },
  ...axisStyle,
  ...more,
});
export const legend = {
  top: 0,
  left: "center",
  itemGap: 24,
  itemWidth: 14,
  itemHeight: 10,
  textStyle: { color: text },
  inactiveColor: muted,
};

/** Layers read from top to bottom. */
export const layerAxis = (names: readonly string[]): object =>
  categoryAxis(names.map(shortName), { inverse: true, axisLabel: { color: muted, interval: 0, fontSize: 11 } });
export const layerHeight = (layers: number): number => 16 + 20 * layers;

/** A dashed line. */
export const verticalAt = (xAxis: number): object => ({
  symbol: "none",
  silent: true,
  label: { show: false },
  lineStyle: { color: muted, type: "dashed" },
  data: [{ xAxis }],
});

/** A mark at each [x, y], over lines. */
export const marks = (
  name: string,
  data: readonly (readonly number[])[],
  { color, symbol }: { readonly color: string; readonly symbol: string },
): object => ({ name, type: "scatter", data, symbol, symbolSize: 10, z: 6, itemStyle: { color } });

/** The best of each x, joined. */
export const frontLine = (name: string, data: readonly (readonly number[])[]): object => ({
  name,
  type: "line",
  data,
  showSymbol: false,
  lineStyle: { width: 2 },
  itemStyle: { color: seriesColors[0] },
});

/** An axis of amounts, printed by `formatter`. */
export const amountAxis = (formatter: (value: number) => string): object =>
  valueAxis("", {
    scale: true,
    splitLine: { show: false },
    axisLabel: { color: muted, hideOverlap: true, formatter },
  });
