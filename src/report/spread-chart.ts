// Points with their deviations, one row each: what the settings of an ablation reach.
import { categoryAxis, draw, grid, line, muted, seriesColors, text, valueAxis, verticalAt } from "./chart-parts.ts";
import type { Html } from "./html.ts";

export interface SpreadRow {
  readonly name: string;
  readonly mean: number;
  /** Drawn to both sides; null: not known. */
  readonly deviation: number | null;
  readonly isMarked: boolean;
}

export interface SpreadChart {
  readonly id: string;
  readonly label: string;
  readonly rows: readonly SpreadRow[];
  readonly unit: string;
  readonly format: (value: number) => string;
  /** Marked by a dashed line. */
  readonly reference: number | null;
}

const longestName = 30;
const shortened = (name: string): string => (name.length <= longestName ? name : `${name.slice(0, longestName - 1)}…`);

export function spreadChart({ id, label, rows, unit, format, reference }: SpreadChart): Html {
  const ends = rows.flatMap(({ mean, deviation }) => [mean - (deviation ?? 0), mean + (deviation ?? 0)]);
  const values = reference === null ? ends : [...ends, reference];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = (high - low) * 0.08 || Math.abs(high) * 0.01 || 1;
  const whiskers = rows.flatMap(({ mean, deviation }, i) =>
    deviation === null || deviation === 0
      ? []
      : [
          {
            type: "line",
            showSymbol: false,
            lineStyle: { width: 2, color: muted },
            data: [
              [mean - deviation, i],
              [mean + deviation, i],
            ],
          },
        ],
  );
  const points = {
    type: "scatter",
    symbolSize: 11,
    z: 6,
    data: rows.map(({ mean, isMarked }, i) => ({
      value: [mean, i],
      itemStyle: { color: seriesColors[isMarked ? 1 : 0] },
    })),
    label: {
      show: true,
      position: "top",
      distance: 3,
      color: text,
      formatter: (item: { value: readonly number[] }) => format(item.value[0]),
    },
    ...(reference === null ? {} : { markLine: verticalAt(reference) }),
  };
  return draw(id, label, 44 + 36 * rows.length, {
    grid: { ...grid, top: 12, right: 24 },
    xAxis: valueAxis("", {
      min: low - margin,
      max: high + margin,
      axisLabel: {
        color: muted,
        hideOverlap: true,
        showMinLabel: false,
        showMaxLabel: false,
        formatter: (value: number) => `${format(value)}${unit}`,
      },
    }),
    yAxis: categoryAxis(
      rows.map(({ name }) => shortened(name)),
      {
        inverse: true,
        axisLine: { show: false },
        axisLabel: { color: muted, interval: 0, fontSize: 11 },
        splitLine: { show: true, lineStyle: { color: line, type: "dotted" } },
      },
    ),
    series: [...whiskers, points],
  });
}
