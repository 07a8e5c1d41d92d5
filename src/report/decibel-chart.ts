// One bar per layer of a figure in decibels, those to look at first marked.
import { layerBars } from "./charts.ts";
import { type Html, html } from "./html.ts";
import { chart } from "./page.ts";

interface Measured {
  readonly name: string;
  readonly value: number;
}

/** A chart of what was measured of each layer. */
export interface DecibelChart {
  readonly id: string;
  readonly title: string;
  readonly label: string;
  /** In the model's order; `null` where nothing was measured, or differs. */
  readonly layers: readonly { readonly name: string; readonly value: number | null }[];
  /** How many of the lowest layers are marked, by the number of layers; one where absent. */
  readonly marked?: (count: number) => number;
  /** What one sees, given the marked layers with their figures. */
  readonly caption: (marked: string) => string;
}

/** Nothing where nothing was measured. */
export function decibelChart({ id, title, label, layers, marked = () => 1, caption }: DecibelChart): Html {
  const bars = layers.flatMap(({ name, value }): Measured[] => (value === null ? [] : [{ name, value }]));
  if (bars.length === 0) return html``;
  const lowest = [...bars].sort((a, b) => a.value - b.value).slice(0, marked(bars.length));
  const text = lowest.map(({ name, value }) => `${name} (${value.toFixed(1)} dB)`).join(", ");
  const names = lowest.map(({ name }) => name);
  const format = (value: number): string => value.toFixed(1);
  return chart(title, caption(text), layerBars({ id, label, layers: bars, format, marked: names }));
}
